/* Layer normalization of rows, with what is added to them first. Widths are multiples of 16. */
#include <string.h>

#include "normalization.h"
#include "team.h"

enum {
    SUMS = 4, /* that grow side by side, as an addition waits for the one before it; */
    PAIR = 2  /* and rows, as a sum, the mean and the variance wait for each other: two took 0.8 of the time */
};

/* One row or two, which become the rows from `first` on. */
typedef struct {
    const Normalization *by;
    const float *numbers, *added;
    size_t first;
} Rows;

INLINE __m512 number_at(const Rows *rows, size_t row, size_t at)
{
    size_t place = row * rows->by->width + at;
    __m512 number = _mm512_loadu_ps(rows->numbers + place);
    return rows->added ? _mm512_add_ps(number, _mm512_loadu_ps(rows->added + place)) : number;
}

/* Adds so many vectors of each row to its sums: numbers, or the squares of what they are off the means. */
INLINE void add_vectors(const Rows *rows, size_t at, const size_t vectors, const size_t count, const __m512 *means,
                        __m512 sums[][SUMS])
{
#pragma GCC unroll 4
    for (size_t each = 0; each < SUMS; each++)
#pragma GCC unroll 2
        for (size_t row = 0; each < vectors && row < count; row++) {
            __m512 number = number_at(rows, row, at + each * WIDTH);
            if (means) {
                __m512 off = _mm512_sub_ps(number, means[row]);
                sums[row][each] = _mm512_fmadd_ps(off, off, sums[row][each]);
            } else
                sums[row][each] = _mm512_add_ps(number, sums[row][each]);
        }
}

/* The mean of each row's numbers, or of the squares of what they are off these means. */
INLINE void average(const Rows *rows, const size_t count, const __m512 *means, float averages[PAIR])
{
    const size_t width = rows->by->width, whole = width / (SUMS * WIDTH) * (SUMS * WIDTH);
    __m512 sums[PAIR][SUMS];
    memset(sums, 0, sizeof sums);
    for (size_t at = 0; at < whole; at += SUMS * WIDTH)
        add_vectors(rows, at, SUMS, count, means, sums);
    add_vectors(rows, whole, (width - whole) / WIDTH, count, means, sums);
#pragma GCC unroll 2
    for (size_t row = 0; row < count; row++) {
        __m512 left = _mm512_add_ps(sums[row][0], sums[row][1]), right = _mm512_add_ps(sums[row][2], sums[row][3]);
        averages[row] = _mm512_reduce_add_ps(_mm512_add_ps(left, right)) / (float)width;
    }
}

/* A vector of a row's numbers, normalized. */
INLINE __m512 normalized(const Rows *rows, size_t row, size_t at, __m512 mean, __m512 factor)
{
    const Normalization *n = rows->by;
    __m512 number = _mm512_mul_ps(_mm512_sub_ps(number_at(rows, row, at), mean), factor);
    number = _mm512_mul_ps(number, _mm512_loadu_ps(n->weight + at));
    if (n->bias)
        number = _mm512_add_ps(number, _mm512_loadu_ps(n->bias + at));
    if (n->out)
        _mm512_storeu_ps(n->out + (rows->first + row) * n->width + at, number);
    return number;
}

INLINE void normalize_vectors(const Rows *rows, size_t row, size_t at, const size_t vectors, __m512 mean, __m512 factor)
{
    const Rounding *rounding = &rows->by->rounding;
    __m512 numbers[4];
    for (size_t each = 0; each < vectors; each++)
        numbers[each] = normalized(rows, row, at + each * WIDTH, mean, factor);
    if (!rounding->levels)
        return;
    if (vectors == 4)
        store_block_row(rounding, numbers, rows->first + row, at);
    else
        store_levels(rounding, numbers[0], rows->first + row, at);
}

INLINE void normalize_rows_at_once(const Rows *rows, const size_t count)
{
    const size_t width = rows->by->width;
    float averages[PAIR], variances[PAIR];
    __m512 means[PAIR], factors[PAIR];
    average(rows, count, NULL, averages);
    for (size_t row = 0; row < count; row++)
        means[row] = _mm512_set1_ps(averages[row]);
    average(rows, count, means, variances);
    for (size_t row = 0; row < count; row++)
        factors[row] = _mm512_set1_ps(1.0f / sqrtf(variances[row] + rows->by->epsilon));
    size_t at = 0;
    for (; at + BLOCK_COLUMNS <= width; at += BLOCK_COLUMNS)
#pragma GCC unroll 2
        for (size_t row = 0; row < count; row++)
            normalize_vectors(rows, row, at, 4, means[row], factors[row]);
    for (; at < width; at += WIDTH)
        for (size_t row = 0; row < count; row++)
            normalize_vectors(rows, row, at, 1, means[row], factors[row]);
}

void normalize(const Normalization *given, const float *numbers, size_t first, size_t end)
{
    const Normalization own = *given; /* which no level that is written can change: as a pointer it was read for each */
    Rows rows = {&own, numbers, own.added ? own.added + first * own.width : NULL, first};
    while (rows.first < end) {
        size_t count = smaller(end - rows.first, PAIR);
        if (count == PAIR)
            normalize_rows_at_once(&rows, PAIR);
        else
            normalize_rows_at_once(&rows, 1);
        rows.first += count;
        rows.numbers += count * own.width;
        rows.added = rows.added ? rows.added + count * own.width : NULL;
    }
}

EXPORTED void normalize_rows(const Normalization *n, const Member *m)
{
    size_t own = own_first(m, *n->rows, PAIR);
    normalize(n, n->numbers + own * n->width, own, own_end(m, *n->rows, PAIR));
}

SIZE_OF(normalize_rows, Normalization)
