/* What is asked of the distributions over the vocabulary at masks. */
#ifndef MASKEDGE_DISTRIBUTION_H
#define MASKEDGE_DISTRIBUTION_H

#include "vectors.h"

/* What is made of distributions: all but the logits for the rows of all batches. */
typedef struct {
    float *logits; /* [rows that are made at once, stride], which become logarithms of probabilities */
    size_t stride, tokens;
    float *entropies; /* [rows] */
    size_t count;     /* of the most probable tokens that are wanted */
    float *values;    /* [rows, count] theirs, */
    int64_t *places;  /* and their ids */
    size_t targets;   /* that are rated in each row */
    const int64_t *target_ids; /* [rows, targets] */
    float *target_values;
    int64_t *larger; /* [rows, targets] how many tokens are more probable than each */
} Distribution;

/* Describes the rows that were made at once, of which the first is row `first` of all. */
void describe_rows(const Distribution *d, size_t first, size_t rows);

#endif
