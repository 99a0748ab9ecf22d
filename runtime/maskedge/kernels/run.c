/* Runs an encoder's kernels, batch after batch, while Python's other threads run on. */
#include "batch.h"
#include "distribution.h"
#include "team.h"

#include <time.h>

typedef struct {
    void (*kernel)(const void *, const Member *);
    const void *argument;
} Call;

/* What is called for each batch, and then for the masks that some batches have together: what is made of masks alone reads
 * as many weights for a few as for many. */
typedef struct {
    const Call *calls;
    size_t count, for_each; /* calls, and the first so many of them, for each batch */
    Batch *current;         /* that calls point to: each batch takes its place */
    size_t most, gathered;  /* masks that may be gathered, and that are */
    double *seconds;        /* [count], to which is added what each call takes; NULL: nobody asks */
} Program;

typedef struct {
    Program *program;
    const Batch *batches;
    size_t count;
    const Distribution *wanted; /* of the distributions at the masks; NULL: nothing */
} Run;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void call(const Program *p, size_t first, size_t end, const Member *m)
{
    const int is_asked = p->seconds && m->number == 0;
    for (size_t at = first; at < end; at++) {
        double began = is_asked ? now() : 0;
        p->calls[at].kernel(p->calls[at].argument, m);
        wait_for_all(m);
        if (is_asked)
            p->seconds[at] += now() - began;
    }
}

/* What one of all does. The first says what they work on; of distributions it makes what is wanted, before there are the
 * next logits. */
static void run(void *given, const Member *m)
{
    const Run *r = given;
    Program *p = r->program;
    size_t gathered = 0, described = 0;
    for (size_t number = 0; number < r->count; number++) {
        if (m->number == 0) {
            *p->current = r->batches[number];
            p->gathered = gathered;
        }
        wait_for_all(m);
        call(p, 0, p->for_each, m);
        gathered += r->batches[number].masks;
        if (number + 1 < r->count && gathered + r->batches[number + 1].masks <= p->most)
            continue;
        if (m->number == 0)
            p->gathered = gathered;
        wait_for_all(m);
        call(p, p->for_each, p->count, m);
        if (m->number == 0 && r->wanted)
            describe_rows(r->wanted, described, gathered);
        described += gathered;
        gathered = 0;
    }
}

EXPORTED void run_batches(Program *p, const Batch *batches, size_t count, const Distribution *wanted, size_t members)
{
    Run together = {p, batches, count, wanted};
    work_together(members, run, &together);
}

SIZE_OF(batch, Batch)
SIZE_OF(run_batches, Program)
