/* Runs an encoder's kernels, batch after batch, while Python's other threads run on. */
#include "batch.h"
#include "distribution.h"

typedef struct {
    void (*kernel)(const void *);
    const void *argument;
} Call;

/* Each batch takes the place of the one that the calls point to. Where something is wanted of the distributions at the
 * masks, it is made of each batch's logits before the next are. */
EXPORTED void run_batches(const Call *calls, size_t count, Batch *current, const Batch *batches, size_t batch_count,
                          const Distribution *wanted)
{
    size_t described = 0;
    for (size_t number = 0; number < batch_count; number++) {
        *current = batches[number];
        for (size_t call = 0; call < count; call++)
            calls[call].kernel(calls[call].argument);
        if (wanted)
            describe_rows(wanted, described, current->masks);
        described += current->masks;
    }
}

SIZE_OF(run_batches, Batch)
