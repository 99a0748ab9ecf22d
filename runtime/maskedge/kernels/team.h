/* Threads that run a program together: each kernel is called by all of them, and each does its share. */
#ifndef MASKEDGE_TEAM_H
#define MASKEDGE_TEAM_H

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vectors.h"

enum { PATIENCE = 2000 /* how often it is looked, some 80 us, before another thread may have the CPU */ };

/* Where they wait for each other. */
typedef struct {
    atomic_size_t members, arrived;
    atomic_uint rounds, asleep;
} Team;

/* One of them. */
typedef struct {
    Team *team;
    size_t number;
} Member;

/* What each of them does. */
typedef void Work(void *, const Member *);

/* Does something by so many threads, of which the calling one is the first; by fewer where the system has no more. */
void work_together(size_t members, Work *work, void *on);

INLINE size_t members_of(const Member *m)
{
    return atomic_load_explicit(&m->team->members, memory_order_acquire);
}

/* Sleeps until a round is over, at most. */
static inline void sleep_through(Team *team, unsigned round)
{
    atomic_fetch_add(&team->asleep, 1);
    syscall(SYS_futex, &team->rounds, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
    atomic_fetch_sub(&team->asleep, 1);
}

/* Waits until all have come here: what each has written, all can read from then on. */
static inline void wait_for_all(const Member *m)
{
    Team *team = m->team;
    unsigned round = atomic_load(&team->rounds);
    if (atomic_fetch_add(&team->arrived, 1) + 1 == members_of(m)) {
        atomic_store(&team->arrived, 0);
        atomic_store(&team->rounds, round + 1);
        if (atomic_load(&team->asleep))
            syscall(SYS_futex, &team->rounds, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
        return;
    }
    for (size_t looks = 1; atomic_load_explicit(&team->rounds, memory_order_acquire) == round; looks++)
        if (looks < PATIENCE)
            _mm_pause();
        else
            sleep_through(team, round);
}

/* Where a member's share of so many things begins, which ends where the next one's begins. A share is a multiple of
 * `together`, but for the last. */
INLINE size_t share_from(const Member *m, size_t number, size_t things, size_t together)
{
    size_t members = members_of(m);
    return number == members ? things : things * number / members / together * together;
}

INLINE size_t own_first(const Member *m, size_t things, size_t together)
{
    return share_from(m, m->number, things, together);
}

INLINE size_t own_end(const Member *m, size_t things, size_t together)
{
    return share_from(m, m->number + 1, things, together);
}

#endif
