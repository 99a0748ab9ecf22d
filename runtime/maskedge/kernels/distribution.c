/* Distributions over the vocabulary: their logarithms, entropy, most probable tokens, and ranks. */
#include "distribution.h"

INLINE __mmask16 own(size_t at, size_t size)
{
    return size - at < WIDTH ? (__mmask16)((1u << (size - at)) - 1) : (__mmask16)0xffff;
}

INLINE __m512 load_or(const float *row, size_t at, size_t size, float otherwise)
{
    return _mm512_mask_loadu_ps(_mm512_set1_ps(otherwise), own(at, size), row + at);
}

/* Logits [rows, stride] of so many tokens become logarithms of probabilities, and `entropies` [rows] theirs, in nats. */
static void log_softmax(float *logits, size_t rows, size_t stride, size_t tokens, float *entropies)
{
    for (size_t r = 0; r < rows; r++) {
        float *row = logits + r * stride;
        __m512 most = _mm512_set1_ps(-INFINITY), total = _mm512_setzero_ps(), weighted = _mm512_setzero_ps();
        for (size_t at = 0; at < tokens; at += WIDTH) /* of a number and NaN it is the second: NaN comes through */
            most = _mm512_max_ps(load_or(row, at, tokens, -INFINITY), most);
        most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
        for (size_t at = 0; at < tokens; at += WIDTH) {
            __m512 less = _mm512_sub_ps(load_or(row, at, tokens, -INFINITY), most);
            __m512 share = exp_of_negative(less);
            total = _mm512_add_ps(total, share);
            __mmask16 some = _mm512_cmp_ps_mask(share, _mm512_setzero_ps(), _CMP_NEQ_UQ);
            weighted = _mm512_mask3_fmadd_ps(share, less, weighted, some);
        }
        float sum = _mm512_reduce_add_ps(total), log_sum = logf(sum);
        entropies[r] = log_sum - _mm512_reduce_add_ps(weighted) / sum;
        __m512 off = _mm512_add_ps(most, _mm512_set1_ps(log_sum));
        for (size_t at = 0; at < tokens; at += WIDTH)
            _mm512_mask_storeu_ps(row + at, own(at, tokens), _mm512_sub_ps(load_or(row, at, tokens, 0), off));
    }
}

/* The largest `count` numbers of each row, the largest first and of equal ones the first, with their places. */
static void find_largest(const float *numbers, size_t rows, size_t stride, size_t size, size_t count, float *values,
                           int64_t *places)
{
    for (size_t r = 0; r < rows; r++) {
        const float *row = numbers + r * stride;
        float *best = values + r * count;
        int64_t *at_best = places + r * count;
        size_t found = 0;
        for (size_t at = 0; at < size; at += WIDTH) {
            __m512 some = load_or(row, at, size, -INFINITY);
            __mmask16 larger = own(at, size);
            if (found == count)
                larger &= _mm512_cmp_ps_mask(some, _mm512_set1_ps(best[count - 1]), _CMP_GT_OQ);
            for (; larger; larger &= larger - 1) {
                size_t place = at + (size_t)__builtin_ctz(larger);
                if (found == count && !(row[place] > best[count - 1]))
                    continue;
                size_t to = found < count ? found++ : count - 1;
                for (; to > 0 && row[place] > best[to - 1]; to--) {
                    best[to] = best[to - 1];
                    at_best[to] = at_best[to - 1];
                }
                best[to] = row[place];
                at_best[to] = (int64_t)place;
            }
        }
    }
}

/* How many numbers of each row are larger than each of so many others. */
static void count_larger(const float *numbers, size_t rows, size_t stride, size_t size, const float *others,
                           size_t count, int64_t *larger)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t each = 0; each < count; each++) {
            int64_t found = 0;
            __m512 other = _mm512_set1_ps(others[r * count + each]);
            for (size_t at = 0; at < size; at += WIDTH) {
                __m512 some = load_or(numbers + r * stride, at, size, -INFINITY);
                found += __builtin_popcount(_mm512_cmp_ps_mask(some, other, _CMP_GT_OQ));
            }
            larger[r * count + each] = found;
        }
}

EXPORTED void describe_rows(const Distribution *d, size_t first, size_t rows)
{
    float *values = d->values + first * d->count, *target_values = d->target_values + first * d->targets;
    const int64_t *target_ids = d->target_ids + first * d->targets;
    log_softmax(d->logits, rows, d->stride, d->tokens, d->entropies + first);
    if (d->count)
        find_largest(d->logits, rows, d->stride, d->tokens, d->count, values, d->places + first * d->count);
    for (size_t at = 0; at < rows * d->targets; at++)
        target_values[at] = d->logits[at / d->targets * d->stride + (size_t)target_ids[at]];
    if (d->targets)
        count_larger(d->logits, rows, d->stride, d->tokens, target_values, d->targets, d->larger + first * d->targets);
}

SIZE_OF(describe_rows, Distribution)
