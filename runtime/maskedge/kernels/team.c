/* Threads that are there for as long as one run: none stays behind, so that a process may fork between runs. */
#include "team.h"

#include <pthread.h>

enum { MOST_HELPERS = 63 };

typedef struct {
    Work *work;
    void *on;
    Member member;
    pthread_t thread;
} Helper;

/* The C library's own, as the caller finds them: since glibc 2.34 their names have another version, and what was compiled
 * with it would not load where it is older. */
static int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
static int (*join)(pthread_t, void **);

EXPORTED void use_threads(void *pthread_create, void *pthread_join)
{
    create = (__typeof__(create))pthread_create;
    join = (__typeof__(join))pthread_join;
}

static void *help(void *helper)
{
    Helper *h = helper;
    while (!members_of(&h->member)) /* until it is known how many could be had */
        _mm_pause();
    h->work(h->on, &h->member);
    return NULL;
}

void work_together(size_t members, Work *work, void *on)
{
    Team team = {0};
    Helper helpers[MOST_HELPERS];
    size_t wanted = smaller(members - 1, MOST_HELPERS), started = 0;
    for (; started < wanted; started++) {
        helpers[started] = (Helper){work, on, {&team, started + 1}, 0};
        if (create(&helpers[started].thread, NULL, help, &helpers[started]))
            break;
    }
    atomic_store_explicit(&team.members, started + 1, memory_order_release);
    work(on, &(Member){&team, 0});
    for (size_t at = 0; at < started; at++)
        join(helpers[at].thread, NULL);
}
