/* A wall clock that differs from that of the machine by OUTBOX_TEST_CLOCK seconds, for a program that is started with
 * this library in LD_PRELOAD. Monotonic clocks are those of the machine. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long difference;

__attribute__((constructor)) static void read_difference(void)
{
    const char *seconds = getenv("OUTBOX_TEST_CLOCK");
    difference = seconds ? strtol(seconds, NULL, 10) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*machine)(clockid_t, struct timespec *);
    if (!machine)
        machine = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = machine(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += difference;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec wall;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &wall) != 0)
        return -1;
    now->tv_sec = wall.tv_sec;
    now->tv_usec = wall.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec wall;
    if (clock_gettime(CLOCK_REALTIME, &wall) != 0)
        return -1;
    if (now)
        *now = wall.tv_sec;
    return wall.tv_sec;
}
