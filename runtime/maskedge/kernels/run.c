/* Runs an encoder's kernels, batch after batch, while Python's other threads run on. */
#include "batch.h"
#include "distribution.h"

typedef struct {
    void (*kernel)(const void *);
    const void *argument;
} Call;

/* What is called for each batch, and then for the masks that some batches have together: what is made of masks alone reads
 * as many weights for a few as for many. */
typedef struct {
    const Call *calls;
    size_t count, for_each; /* calls, and the first so many of them, for each batch */
    Batch *current;         /* that calls point to: each batch takes its place */
    size_t most, gathered;  /* masks that may be gathered, and that are */
} Program;

static void call(const Program *p, size_t first, size_t end)
{
    for (size_t at = first; at < end; at++)
        p->calls[at].kernel(p->calls[at].argument);
}

/* Where something is wanted of the distributions at the masks, it is made of the logits before the next are. */
EXPORTED void run_batches(Program *p, const Batch *batches, size_t count, const Distribution *wanted)
{
    size_t described = 0;
    p->gathered = 0;
    for (size_t number = 0; number < count; number++) {
        *p->current = batches[number];
        call(p, 0, p->for_each);
        p->gathered += p->current->masks;
        if (number + 1 < count && p->gathered + batches[number + 1].masks <= p->most)
            continue;
        call(p, p->for_each, p->count);
        if (wanted)
            describe_rows(wanted, described, p->gathered);
        described += p->gathered;
        p->gathered = 0;
    }
}

SIZE_OF(batch, Batch)
SIZE_OF(run_batches, Program)
