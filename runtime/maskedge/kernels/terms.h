/* Numbers as three terms of 8 bits, and sums of their products on AMX: 24 bits, as many as a float has.
 *
 * A number is about (65536 * high + 256 * middle + low) / steps. Of a product of two such numbers, those terms are left out
 * that are less than 2^-23 of the largest: a sum of products is 65536 * (65536 * first + 256 * second + third), where
 * first are highs times highs, second highs times middles, third highs times lows and middles times middles. */
#ifndef MASKEDGE_TERMS_H
#define MASKEDGE_TERMS_H

#include "amx.h"

enum {
    TERMS = 3,
    PART = BLOCK_COLUMNS,            /* numbers of a row that a tile has a term of */
    PART_BYTES = TERMS * TILE_BYTES, /* of 16 rows, or of 16 columns */
    ROWS = 2 * BLOCK_ROWS            /* that are multiplied at once */
};

#define MOST_STEPS 8355584.0f /* 65536 * 127 + 256 * 127: 127 less than fit, for they are rounded */
#define PRODUCT_STEPS 65536.0f

/* How many steps a number has, of which the largest has most. */
INLINE float steps_of(float largest)
{
    return MOST_STEPS / (largest > 1e-30f ? largest : 1e-30f);
}

/* The terms of 64 numbers, those of each kind together; of each quarter 4 of the first 16 numbers, 4 of the second. The
 * bytes of a number that is 128 and 256 * 128 steps more are its high term, and 128 more than the others. */
INLINE void split(const __m512 numbers[4], __m512 steps, __m512i terms[TERMS])
{
    const __m512 more = _mm512_set1_ps(128.0f + 256.0f * 128.0f);
    const __m512i apart = _mm512_broadcast_i32x4(_mm_set_epi8(-1, -1, -1, -1, 12, 8, 4, 0, 13, 9, 5, 1, 14, 10, 6, 2));
    const __m512i off = _mm512_set1_epi8((char)128);
    __m512i bytes[4];
#pragma GCC unroll 4
    for (size_t each = 0; each < 4; each++)
        bytes[each] = _mm512_shuffle_epi8(_mm512_cvtps_epi32(_mm512_fmadd_ps(numbers[each], steps, more)), apart);
    __m512i left = _mm512_unpacklo_epi32(bytes[0], bytes[1]), right = _mm512_unpacklo_epi32(bytes[2], bytes[3]);
    __m512i left_lows = _mm512_unpackhi_epi32(bytes[0], bytes[1]), right_lows = _mm512_unpackhi_epi32(bytes[2], bytes[3]);
    terms[0] = _mm512_unpacklo_epi64(left, right);
    terms[1] = _mm512_xor_si512(_mm512_unpackhi_epi64(left, right), off);
    terms[2] = _mm512_xor_si512(_mm512_unpacklo_epi64(left_lows, right_lows), off);
}

enum { PRODUCTS = 12 /* of tiles, for each part */ };

/* What is done with other sums, a little after each product of tiles: the CPU multiplies beside its vectors. */
typedef void Meanwhile(void *);

/* Adds the product of a tile of rows and the tile of columns that is loaded. */
#define ADD_PRODUCT(sum, rows)        \
    do {                              \
        _tile_loadd(7, rows, LINE);   \
        _tile_dpbssd(sum, 7, 6);      \
        meanwhile(work);              \
    } while (0)

/* Sums of 32 rows' terms times 16 columns': [3, 32, 16]. Rows are [2, parts, 3] tiles, columns [parts, 3]. */
INLINE void sum_terms(const int8_t *rows, const int8_t *columns, size_t parts, int32_t *sums, Meanwhile *const meanwhile,
                      void *work)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (size_t part = 0; part < parts; part++, columns += PART_BYTES) {
        const int8_t *upper = rows + part * PART_BYTES, *lower = upper + parts * PART_BYTES;
        _tile_loadd(6, columns, LINE);
        ADD_PRODUCT(0, upper);
        ADD_PRODUCT(1, lower);
        ADD_PRODUCT(2, upper + TILE_BYTES);
        ADD_PRODUCT(3, lower + TILE_BYTES);
        ADD_PRODUCT(4, upper + 2 * TILE_BYTES);
        ADD_PRODUCT(5, lower + 2 * TILE_BYTES);
        _tile_loadd(6, columns + TILE_BYTES, LINE);
        ADD_PRODUCT(2, upper);
        ADD_PRODUCT(3, lower);
        ADD_PRODUCT(4, upper + TILE_BYTES);
        ADD_PRODUCT(5, lower + TILE_BYTES);
        _tile_loadd(6, columns + 2 * TILE_BYTES, LINE);
        ADD_PRODUCT(4, upper);
        ADD_PRODUCT(5, lower);
    }
    _tile_stored(0, sums, LINE);
    _tile_stored(1, sums + BLOCK_ROWS * WIDTH, LINE);
    _tile_stored(2, sums + ROWS * WIDTH, LINE);
    _tile_stored(3, sums + (ROWS + BLOCK_ROWS) * WIDTH, LINE);
    _tile_stored(4, sums + 2 * ROWS * WIDTH, LINE);
    _tile_stored(5, sums + (2 * ROWS + BLOCK_ROWS) * WIDTH, LINE);
}

/* A row's sums of products, in steps of both times 65536. */
INLINE __m512 sum_at(const int32_t *sums, size_t row)
{
    const __m512 next = _mm512_set1_ps(256.0f);
    __m512 made = _mm512_cvtepi32_ps(_mm512_load_si512(sums + row * WIDTH));
    for (size_t order = 1; order < TERMS; order++)
        made = _mm512_fmadd_ps(made, next, _mm512_cvtepi32_ps(_mm512_load_si512(sums + (order * ROWS + row) * WIDTH)));
    return made;
}

#endif
