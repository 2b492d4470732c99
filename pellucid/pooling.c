/* ReLU of the largest of every 2x2 block of maps that lie channels last, and its gradient.

Values are compared as the integers their bits make, which puts positive floats in order exactly: one source
serves both types, and nothing is rounded. What is no number counts as the largest, as in torch.

pooling.py compiles it for each type, with BITS=32 for float32 and BITS=16 for bfloat16. */

#include <stdint.h>
#include <string.h>

#if BITS == 32
typedef int32_t integer;
enum { INFINITE = 0x7f800000, LARGEST = 0x7fffffff };
#else
typedef int16_t integer;
enum { INFINITE = 0x7f80, LARGEST = 0x7fff };
#endif

enum { LANES = 16 }; /* channels at a time */
typedef integer lanes __attribute__((vector_size(LANES * sizeof(integer))));
typedef uint8_t bytes __attribute__((vector_size(LANES)));

static inline lanes load(const integer *from) {
    lanes values;
    memcpy(&values, from, sizeof values);
    return values;
}

static inline void keep_better(const integer *from, integer place, lanes *best, lanes *where) {
    lanes values = load(from), odd = (values & LARGEST) > INFINITE;
    values = (odd & LARGEST) | (~odd & values);
    lanes more = values > *best;
    *best = (more & values) | (~more & *best);
    *where = (more & place) | (~more & *where);
}

/* maps (rows, 2, width, 2, channels) -> pooled, places (rows, width, channels); place 4: none was above 0 */
void forward(const integer *maps, integer *pooled, uint8_t *places, long rows, long width, long channels) {
#pragma omp parallel for schedule(static)
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < width; column++)
            for (long k = 0; k < channels; k += LANES) {
                const integer *top = maps + (row * 4 * width + 2 * column) * channels + k;
                const integer *low = top + 2 * width * channels;
                long at = (row * width + column) * channels + k;
                lanes best = {0}, where = best + 4;
                keep_better(top, 0, &best, &where);
                keep_better(top + channels, 1, &best, &where);
                keep_better(low, 2, &best, &where);
                keep_better(low + channels, 3, &best, &where);
                bytes small = __builtin_convertvector(where, bytes);
                memcpy(pooled + at, &best, sizeof best);
                memcpy(places + at, &small, sizeof small);
            }
}

/* The gradient of a pooled value goes to the place it came from; the other places get 0. */
void backward(const integer *pooled, const uint8_t *places, integer *maps, long rows, long width, long channels) {
#pragma omp parallel for schedule(static)
    for (long row = 0; row < rows; row++)
        for (long column = 0; column < width; column++)
            for (long k = 0; k < channels; k += LANES) {
                integer *top = maps + (row * 4 * width + 2 * column) * channels + k;
                integer *low = top + 2 * width * channels, *to[4] = {top, top + channels, low, low + channels};
                long at = (row * width + column) * channels + k;
                bytes small;
                memcpy(&small, places + at, sizeof small);
                lanes where = __builtin_convertvector(small, lanes), values = load(pooled + at);
                for (integer place = 0; place < 4; place++) {
                    lanes part = (where == place) & values;
                    memcpy(to[place], &part, sizeof part);
                }
            }
}
