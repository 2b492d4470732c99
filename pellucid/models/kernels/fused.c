/* A 3x3 convolution that keeps the size, ReLU and 2x2 max pooling in one pass, and the gradient of all three.

Only the maximum of each 2x2 block has a gradient, and only where it is above 0: the backward pass visits those
places alone, at most a quarter of a convolution's work. Sums are float32, in an order that does not depend on
the number of threads. `value` is the type of the maps: float32 (BITS=32) or bfloat16 (BITS=16); all maps are
channels last, with an even height and width. A place is 0 to 3 within its block, or 4 where none was above 0.

build.py compiles it for both types. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if BITS == 16 && defined __AVX512BF16__
#include <immintrin.h>
#define PAIRS 1 /* the processor multiplies two bfloat16 a lane and adds them */
#else
#define PAIRS 0
#endif

enum { LANES = 16, TAPS = 9, CHUNK = 16 /* pictures whose gradients are summed by one thread */ };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t words __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint16_t halves __attribute__((vector_size(LANES * sizeof(uint16_t))));
typedef uint8_t bytes __attribute__((vector_size(LANES)));

#if BITS == 32
typedef float value;
static inline float number(value given) { return given; }
static inline value shortened(float given) { return given; }
#else
typedef uint16_t value;
static inline float number(value given) {
    uint32_t bits = (uint32_t)given << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}
static inline value shortened(float given) { /* to the nearest, of two the even one */
    uint32_t bits;
    memcpy(&bits, &given, sizeof bits);
    return given != given ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
#endif

typedef struct {
    long batch, height, width, channels, filters; /* of the maps that come in; filters: channels that go out */
} shape;

static inline lanes load(const float *from) {
    lanes values;
    memcpy(&values, from, sizeof values);
    return values;
}

static inline lanes load_value(const value *from) {
#if BITS == 32
    return load(from);
#else
    halves small;
    memcpy(&small, from, sizeof small);
    return (lanes)(__builtin_convertvector(small, words) << 16);
#endif
}

static inline void store(float *to, lanes values) { memcpy(to, &values, sizeof values); }

static inline void store_value(value *to, lanes values) {
#if BITS == 32
    memcpy(to, &values, sizeof values);
#else
    words bits = (words)values;
    words rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16 & 0xffff, odd = values != values;
    halves small = __builtin_convertvector((odd & 0x7fc0) | (~odd & rounded), halves);
    memcpy(to, &small, sizeof small);
#endif
}

/* Whole cache lines: 16 floats that lie across two of them take twice as long to come. */
static void *zeros(long count, size_t size) {
    size_t total = (count * size + 63) / 64 * 64;
    void *memory = aligned_alloc(64, total);
    return memory ? memset(memory, 0, total) : memory;
}

/* One picture with a frame of zeros; the frame is there already. */
static void framed(const value *maps, float *frame, const shape *s) {
    long row = s->width * s->channels, wide = row + 2 * s->channels;
    for (long y = 0; y < s->height; y++) {
        float *to = frame + (y + 1) * wide + s->channels;
        long k = 0;
        for (; k + LANES <= row; k += LANES) store(to + k, load_value(maps + y * row + k));
        for (; k < row; k++) to[k] = number(maps[y * row + k]);
    }
}

static long frame_values(const shape *s) { return (s->height + 2) * (s->width + 2) * s->channels; }

/* weight (filters, channels, 3, 3) -> (3, 3, channels, filters) */
static void filters_last(const float *weight, float *turned, const shape *s) {
    for (long f = 0; f < s->filters; f++)
        for (long c = 0; c < s->channels; c++)
            for (long tap = 0; tap < TAPS; tap++)
                turned[(tap * s->channels + c) * s->filters + f] = weight[(f * s->channels + c) * TAPS + tap];
}

static inline void keep_better(lanes values, int place, lanes *best, words *where) {
    words more = (values > *best) | (values != values);
    *best = (lanes)((more & (words)values) | (~more & (words)*best));
    *where = (more & place) | (~more & *where);
}

static inline void put(const lanes *sums, value *pooled, uint8_t *places) {
    lanes best = {0};
    words where = (words){0} + 4;
    for (int place = 0; place < 4; place++) keep_better(sums[place], place, &best, &where);
    store_value(pooled, best);
    if (!places) return;
    bytes small = __builtin_convertvector(where, bytes);
    memcpy(places, &small, sizeof small);
}

/* The four sums of a block whose corner in the frame is `corner`, for `groups` times 16 filters from `weight` on. */
static inline __attribute__((always_inline)) void block(
    const float *corner, const float *weight, const float *bias, const shape *s, long channels, int groups,
    lanes *sums) {
    long wide = (s->width + 2) * channels;
    for (int g = 0; g < groups; g++)
        for (int place = 0; place < 4; place++) sums[4 * g + place] = load(bias + g * LANES);
#pragma GCC unroll 9
    for (long tap = 0; tap < TAPS; tap++) {
        const float *from = corner + tap / 3 * wide + tap % 3 * channels;
        const float *by = weight + tap * channels * s->filters;
        for (long c = 0; c < channels; c++) {
            lanes w[2];
            for (int g = 0; g < groups; g++) w[g] = load(by + c * s->filters + g * LANES);
            for (int place = 0; place < 4; place++) {
                lanes seen = (lanes){0} + from[place / 2 * wide + place % 2 * channels + c];
                for (int g = 0; g < groups; g++) sums[4 * g + place] += w[g] * seen;
            }
        }
    }
}

#if PAIRS
/* weight (filters, channels, 3, 3) -> bfloat16 (3, 3, channels / 2, filters, 2) */
static void pairs_last(const float *weight, value *turned, const shape *s) {
    for (long f = 0; f < s->filters; f++)
        for (long c = 0; c < s->channels; c++)
            for (long tap = 0; tap < TAPS; tap++)
                turned[((tap * s->channels + c) / 2 * s->filters + f) * 2 + c % 2] =
                    shortened(weight[(f * s->channels + c) * TAPS + tap]);
}

static inline __attribute__((always_inline)) void block_of_pairs(
    const value *corner, const value *weight, const float *bias, const shape *s, int groups, lanes *sums) {
    long wide = (s->width + 2) * s->channels;
    for (int g = 0; g < groups; g++)
        for (int place = 0; place < 4; place++) sums[4 * g + place] = load(bias + g * LANES);
    for (long tap = 0; tap < TAPS; tap++) {
        const value *from = corner + tap / 3 * wide + tap % 3 * s->channels;
        const value *by = weight + tap * s->channels * s->filters;
        for (long c = 0; c < s->channels; c += 2) {
            __m512i w[2];
            for (int g = 0; g < groups; g++) w[g] = _mm512_loadu_si512(by + (c / 2 * s->filters + g * LANES) * 2);
            for (int place = 0; place < 4; place++) {
                int32_t pair;
                memcpy(&pair, from + place / 2 * wide + place % 2 * s->channels + c, sizeof pair);
                __m512i both = _mm512_set1_epi32(pair);
                for (int g = 0; g < groups; g++)
                    sums[4 * g + place] = (lanes)_mm512_dpbf16_ps(
                        (__m512)sums[4 * g + place], (__m512bh)w[g], (__m512bh)both);
            }
        }
    }
}
#endif

/* maps (batch, height, width, channels) -> pooled and, where asked for, places (batch, height / 2, width / 2,
filters). 0: no memory. */
int forward(
    const value *maps, const float *weight, const float *bias, value *pooled, uint8_t *places, const shape *s) {
    long rows = s->height / 2, columns = s->width / 2, wide = (s->width + 2) * s->channels;
    int paired = PAIRS && s->channels % LANES == 0, failed = 0;
    float *turned = zeros(TAPS * s->channels * s->filters, sizeof *turned);
    if (!turned) return 0;
#if PAIRS
    if (paired)
        pairs_last(weight, (value *)turned, s);
    else
#endif
        filters_last(weight, turned, s);
#pragma omp parallel reduction(| : failed)
    {
        float *frame = zeros(frame_values(s), sizeof *frame);
        failed |= !frame;
#pragma omp for schedule(static)
        for (long picture = 0; picture < s->batch; picture++) {
            if (!frame) continue;
            const value *from = maps + picture * s->height * s->width * s->channels;
            if (paired)
                for (long y = 0; y < s->height; y++)
                    memcpy((value *)frame + (y + 1) * wide + s->channels, from + y * s->width * s->channels,
                           s->width * s->channels * sizeof(value));
            else
                framed(from, frame, s);
            for (long y = 0; y < rows; y++)
                for (long x = 0; x < columns; x++) {
                    long at = ((picture * rows + y) * columns + x) * s->filters;
                    long corner = 2 * y * wide + 2 * x * s->channels;
                    for (long f = 0; f < s->filters;) {
                        lanes sums[8];
                        int groups = f + LANES < s->filters && s->channels > 1 ? 2 : 1;
                        const float *seen = frame + corner, *by = turned + f;
#if PAIRS
                        const value *seen_pairs = (value *)frame + corner, *by_pairs = (value *)turned + 2 * f;
                        if (paired && groups == 2)
                            block_of_pairs(seen_pairs, by_pairs, bias + f, s, 2, sums);
                        else if (paired)
                            block_of_pairs(seen_pairs, by_pairs, bias + f, s, 1, sums);
                        else
#endif
                        if (s->channels == 1) /* constants, so that the compiler unrolls */
                            block(seen, by, bias + f, s, 1, 1, sums);
                        else if (groups == 2)
                            block(seen, by, bias + f, s, s->channels, 2, sums);
                        else
                            block(seen, by, bias + f, s, s->channels, 1, sums);
                        for (int g = 0; g < groups; g++, f += LANES)
                            put(sums + 4 * g, pooled + at + f, places ? places + at + f : 0);
                    }
                }
        }
        free(frame);
    }
    free(turned);
    return !failed;
}

/* Of one picture and filter: where its gradient goes, as offsets into the frame, and how much of it. */
typedef struct {
    long count;
    int32_t *offsets;
    float *amounts;
} winners;

/* `gradient` and `places` from this filter on; `corners`: where each block begins in the frame. */
static void gather(
    const value *gradient, const uint8_t *places, const int32_t *corners, const shape *s, winners *won) {
    long wide = (s->width + 2) * s->channels, count = 0;
    int32_t steps[5] = {0, s->channels, wide, wide + s->channels, 0};
    for (long n = 0; n < s->height / 2 * (s->width / 2); n++) {
        long at = n * s->filters;
        won->offsets[count] = corners[n] + steps[places[at]];
        won->amounts[count] = number(gradient[at]);
        count += places[at] < 4;
    }
    won->count = count;
}

/* What the winners of one filter say of its weights and of the maps, for 16 channels; gives their sum. */
static float winners_back(
    const winners *won, const float *frame, float *back, const float *weight, float *slope, const shape *s) {
    long wide = (s->width + 2) * s->channels;
    lanes w[TAPS], sums[TAPS];
    float total = 0;
    for (int tap = 0; tap < TAPS; tap++) {
        w[tap] = load(weight + tap * s->channels);
        sums[tap] = load(slope + tap * s->channels);
    }
    for (long n = 0; n < won->count; n++) {
        const float *seen = frame + won->offsets[n];
        float *to = back + won->offsets[n], amount = won->amounts[n];
        total += amount;
#pragma GCC unroll 9
        for (int tap = 0; tap < TAPS; tap++) {
            long there = tap / 3 * wide + tap % 3 * s->channels;
            sums[tap] += amount * load(seen + there);
            store(to + there, load(to + there) + amount * w[tap]);
        }
    }
    for (int tap = 0; tap < TAPS; tap++) store(slope + tap * s->channels, sums[tap]);
    return total;
}

/* The same for maps of few channels, which need no gradient: 16 filters a lane, slope (3, 3, channels, filters). */
static void few_back(
    const float *frame, const value *gradient, const uint8_t *places, float *slope, float *bias, const shape *s) {
    long rows = s->height / 2, columns = s->width / 2, wide = (s->width + 2) * s->channels;
    for (long f = 0; f < s->filters; f += LANES) {
        lanes total = load(bias + f);
        for (long c = 0; c < s->channels; c++) {
            lanes sums[TAPS];
            for (int tap = 0; tap < TAPS; tap++) sums[tap] = load(slope + (tap * s->channels + c) * s->filters + f);
            for (long y = 0; y < rows; y++)
                for (long x = 0; x < columns; x++) {
                    long at = (y * columns + x) * s->filters + f;
                    const float *seen = frame + 2 * y * wide + 2 * x * s->channels + c;
                    bytes small;
                    memcpy(&small, places + at, sizeof small);
                    words where = __builtin_convertvector(small, words), all = (words)load_value(gradient + at);
                    if (c == 0) total += (lanes)((where < 4) & all);
#pragma GCC unroll 4
                    for (int place = 0; place < 4; place++) {
                        lanes part = (lanes)((where == place) & all);
                        const float *corner = seen + place / 2 * wide + place % 2 * s->channels;
#pragma GCC unroll 9
                        for (int tap = 0; tap < TAPS; tap++)
                            sums[tap] += part * corner[tap / 3 * wide + tap % 3 * s->channels];
                    }
                }
            for (int tap = 0; tap < TAPS; tap++) store(slope + (tap * s->channels + c) * s->filters + f, sums[tap]);
        }
        store(bias + f, total);
    }
}

/* From the gradient of what was pooled to that of weight, bias and, where `back_maps` is given, of the maps.
weight (filters, channels, 3, 3); slopes (filters, channels, 3, 3), bias_slopes (filters). 0: no memory. */
int backward(
    const value *maps, const float *weight, const value *gradient, const uint8_t *places, value *back_maps,
    float *slopes, float *bias_slopes, const shape *s) {
    long blocks = s->height / 2 * (s->width / 2), wide = (s->width + 2) * s->channels;
    long weights = TAPS * s->channels * s->filters, each = (weights + s->filters + LANES - 1) / LANES * LANES;
    long chunks = (s->batch + CHUNK - 1) / CHUNK, area = s->height * s->width * s->channels;
    int many = s->channels % LANES == 0, failed = 0;
    float *turned = zeros(weights, sizeof *turned), *parts = zeros(chunks * each, sizeof *parts);
    int32_t *corners = zeros(blocks, sizeof *corners);
    if (!turned || !parts || !corners) {
        free(turned), free(parts), free(corners);
        return 0;
    }
    for (long n = 0; n < blocks; n++)
        corners[n] = n / (s->width / 2) * 2 * wide + n % (s->width / 2) * 2 * s->channels;
    for (long f = 0; f < s->filters; f++) /* (filters, 3, 3, channels) */
        for (long c = 0; c < s->channels; c++)
            for (long tap = 0; tap < TAPS; tap++)
                turned[(f * TAPS + tap) * s->channels + c] = weight[(f * s->channels + c) * TAPS + tap];
#pragma omp parallel reduction(| : failed)
    {
        float *frame = zeros(2 * frame_values(s), sizeof *frame), *back = frame + frame_values(s);
        winners won = {0, zeros(blocks, sizeof *won.offsets), zeros(blocks, sizeof *won.amounts)};
        int ready = frame && won.offsets && won.amounts;
        failed |= !ready;
#pragma omp for schedule(static)
        for (long chunk = 0; chunk < chunks; chunk++) {
            float *slope = parts + chunk * each, *bias = slope + weights;
            long end = (chunk + 1) * CHUNK < s->batch ? (chunk + 1) * CHUNK : s->batch;
            for (long picture = chunk * CHUNK; ready && picture < end; picture++) {
                const value *mine = gradient + picture * blocks * s->filters;
                const uint8_t *mine_places = places + picture * blocks * s->filters;
                framed(maps + picture * area, frame, s);
                if (!many) {
                    few_back(frame, mine, mine_places, slope, bias, s);
                    continue;
                }
                memset(back, 0, frame_values(s) * sizeof *back);
                for (long f = 0; f < s->filters; f++) {
                    gather(mine + f, mine_places + f, corners, s, &won);
                    for (long c = 0; c < s->channels; c += LANES) {
                        long first = f * TAPS * s->channels + c;
                        float total = winners_back(&won, frame + c, back + c, turned + first, slope + first, s);
                        bias[f] += c ? 0 : total;
                    }
                }
                if (!back_maps) continue;
                for (long y = 0; y < s->height; y++)
                    for (long k = 0; k < s->width * s->channels; k += LANES)
                        store_value(back_maps + picture * area + y * s->width * s->channels + k,
                                    load(back + (y + 1) * wide + s->channels + k));
            }
        }
        free(frame);
        free(won.offsets);
        free(won.amounts);
    }
    for (long chunk = 1; chunk < chunks; chunk++)
        for (long k = 0; k < each; k++) parts[k] += parts[chunk * each + k];
    memcpy(bias_slopes, parts + weights, s->filters * sizeof *bias_slopes);
    for (long f = 0; f < s->filters; f++)
        for (long c = 0; c < s->channels; c++)
            for (long tap = 0; tap < TAPS; tap++)
                slopes[(f * s->channels + c) * TAPS + tap] =
                    many ? parts[(f * TAPS + tap) * s->channels + c] : parts[(tap * s->channels + c) * s->filters + f];
    free(turned), free(parts), free(corners);
    return !failed;
}
