/* Preloaded into a process, counts what it asks of the system for files below one folder, and at one of these
   moments kills the process or refuses what was asked, once or from then on.

   Built and used by faults.py. A process that never calls `faults_arm` is not disturbed. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/types.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_DESCRIPTORS 4096
#define MOST_OPERATIONS 100000
#define SPACE 1  /* needs room on the disk */
#define RIGHTS 2 /* needs permission */

static char folder[4096];
static size_t folder_length;
static long moment = -1, asked;
static int refusal, lasting;
static unsigned char below[MOST_DESCRIPTORS], kinds[MOST_OPERATIONS];
static char names[MOST_OPERATIONS][24];

/* From now on files below `place` are counted. At the operation of number `number` (from 0; -1: never) the
   process is killed (`error` 0) or refused with `error`: once, or, if `for_good`, whenever the same error fits
   one that follows. */
void faults_arm(const char *place, long number, int error, int for_good) {
    folder_length = strlen(place);
    memcpy(folder, place, folder_length + 1);
    asked = 0;
    moment = number;
    refusal = error;
    lasting = for_good;
}

long faults_asked(void) { return asked; }
const char *faults_name(long number) { return names[number]; }
int faults_fits(long number, int error) {
    return error == ENOSPC ? kinds[number] & SPACE : error == EACCES ? kinds[number] & RIGHTS : 1;
}

static int is_below(const char *path) {
    return folder_length && path && !strncmp(path, folder, folder_length) &&
           (path[folder_length] == '/' || !path[folder_length]);
}

static int is_ours(int descriptor) {
    return descriptor >= 0 && descriptor < MOST_DESCRIPTORS && below[descriptor];
}

static int fits(int kind) {
    return refusal == ENOSPC ? kind & SPACE : refusal == EACCES ? kind & RIGHTS : 1;
}

/* Whether this operation is refused. Where a write is killed, half of it is written first. */
static int refused(const char *name, int kind, int descriptor, const void *bytes, size_t count) {
    long number = __atomic_fetch_add(&asked, 1, __ATOMIC_SEQ_CST);
    if (number < MOST_OPERATIONS) {
        snprintf(names[number], sizeof names[number], "%s", name);
        kinds[number] = (unsigned char)kind;
    }
    if (moment < 0 || number < moment || (number > moment && !lasting)) return 0;
    if (!refusal) {
        if (bytes) {
            static ssize_t (*real)(int, const void *, size_t);
            if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
            (void)!real(descriptor, bytes, count / 2);
        }
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    if (!fits(kind)) return 0;
    errno = refusal;
    return 1;
}

#define REAL(result, name, ...)                                       \
    static result (*real)(__VA_ARGS__);                               \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int opened(int descriptor, int ours) {
    if (descriptor >= 0 && descriptor < MOST_DESCRIPTORS) below[descriptor] = (unsigned char)ours;
    return descriptor;
}

#define OPEN(name)                                                                                      \
    int name(const char *path, int flags, ...) {                                                        \
        REAL(int, #name, const char *, int, ...);                                                       \
        va_list more;                                                                                   \
        va_start(more, flags);                                                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                         \
        va_end(more);                                                                                   \
        int ours = is_below(path);                                                                      \
        if (ours && refused(flags & O_CREAT ? "open to create" : flags & O_DIRECTORY ? "open a folder"  \
                            : "open", RIGHTS | (flags & O_CREAT ? SPACE : 0), -1, 0, 0)) return -1;     \
        return opened(real(path, flags, mode), ours);                                                   \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                    \
    int name(int at, const char *path, int flags, ...) {                                                \
        REAL(int, #name, int, const char *, int, ...);                                                  \
        va_list more;                                                                                   \
        va_start(more, flags);                                                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                         \
        va_end(more);                                                                                   \
        int ours = is_below(path) || (path[0] != '/' && is_ours(at));                                   \
        if (ours && refused(flags & O_CREAT ? "open to create" : "open",                                \
                            RIGHTS | (flags & O_CREAT ? SPACE : 0), -1, 0, 0)) return -1;               \
        return opened(real(at, path, flags, mode), ours);                                               \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int descriptor) { /* as Linux does: it is closed whatever is answered */
    REAL(int, "close", int);
    int no = is_ours(descriptor) && refused("close", 0, -1, 0, 0), error = errno;
    opened(descriptor, 0);
    int result = real(descriptor);
    if (no) errno = error;
    return no ? -1 : result;
}

/* On a disk that fills up the first write that does not fit writes what does, and says how much that was. */
ssize_t write(int descriptor, const void *bytes, size_t count) {
    REAL(ssize_t, "write", int, const void *, size_t);
    long number = asked;
    if (is_ours(descriptor) && refused("write", SPACE, descriptor, bytes, count))
        return errno == ENOSPC && number == moment && count > 1 ? real(descriptor, bytes, count / 2) : -1;
    return real(descriptor, bytes, count);
}

ssize_t read(int descriptor, void *bytes, size_t count) {
    REAL(ssize_t, "read", int, void *, size_t);
    if (is_ours(descriptor) && refused("read", 0, -1, 0, 0)) return -1;
    return real(descriptor, bytes, count);
}

#define OF_DESCRIPTOR(name, word, kind)                                                                 \
    int name(int descriptor) {                                                                          \
        REAL(int, #name, int);                                                                          \
        if (is_ours(descriptor) && refused(word, kind, -1, 0, 0)) return -1;                            \
        return real(descriptor);                                                                        \
    }
OF_DESCRIPTOR(fsync, "fsync", SPACE)
OF_DESCRIPTOR(fdatasync, "fsync", SPACE)

#define TRUNCATE(name)                                                                                  \
    int name(int descriptor, off_t length) {                                                            \
        REAL(int, #name, int, off_t);                                                                   \
        if (is_ours(descriptor) && refused("truncate", SPACE, -1, 0, 0)) return -1;                     \
        return real(descriptor, length);                                                                \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

int flock(int descriptor, int how) {
    REAL(int, "flock", int, int);
    if (is_ours(descriptor) && refused("lock", 0, -1, 0, 0)) return -1;
    return real(descriptor, how);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    if (is_below(to) && refused("rename", SPACE | RIGHTS, -1, 0, 0)) return -1;
    return real(from, to);
}

int symlink(const char *target, const char *path) {
    REAL(int, "symlink", const char *, const char *);
    if (is_below(path) && refused("link", SPACE | RIGHTS, -1, 0, 0)) return -1;
    return real(target, path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    if (is_below(path) && refused("make a folder", SPACE | RIGHTS, -1, 0, 0)) return -1;
    return real(path, mode);
}

int chmod(const char *path, mode_t mode) {
    REAL(int, "chmod", const char *, mode_t);
    if (is_below(path) && refused("chmod", RIGHTS, -1, 0, 0)) return -1;
    return real(path, mode);
}

#define OF_PATH(name, word)                                                                             \
    int name(const char *path) {                                                                        \
        REAL(int, #name, const char *);                                                                 \
        if (is_below(path) && refused(word, RIGHTS, -1, 0, 0)) return -1;                               \
        return real(path);                                                                              \
    }
OF_PATH(unlink, "remove")
OF_PATH(rmdir, "remove a folder")

DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    if (is_below(path) && refused("list a folder", RIGHTS, -1, 0, 0)) return 0;
    return real(path);
}

#define LOOK(name, type)                                                                                \
    int name(const char *path, struct type *found) {                                                    \
        REAL(int, #name, const char *, struct type *);                                                  \
        if (is_below(path) && refused("look", RIGHTS, -1, 0, 0)) return -1;                             \
        return real(path, found);                                                                       \
    }
LOOK(stat, stat)
LOOK(stat64, stat64)
LOOK(lstat, stat)
LOOK(lstat64, stat64)

#define LOOK_AT(name, type)                                                                             \
    int name(int at, const char *path, struct type *found, int flags) {                                 \
        REAL(int, #name, int, const char *, struct type *, int);                                        \
        if (is_below(path) && refused("look", RIGHTS, -1, 0, 0)) return -1;                             \
        return real(at, path, found, flags);                                                            \
    }
LOOK_AT(fstatat, stat)
LOOK_AT(fstatat64, stat64)

#define LOOK_INTO(name, type)                                                                           \
    int name(int descriptor, struct type *found) {                                                      \
        REAL(int, #name, int, struct type *);                                                           \
        if (is_ours(descriptor) && refused("look", 0, -1, 0, 0)) return -1;                             \
        return real(descriptor, found);                                                                 \
    }
LOOK_INTO(fstat, stat)
LOOK_INTO(fstat64, stat64)
