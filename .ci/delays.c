// Delays system calls at random, so that threads and processes meet in orders that they hardly ever meet in otherwise.
//
// Loaded before the C library (LD_PRELOAD). UNCHOKE_DELAYS is the seed; each thread draws from its own sequence, which begins
// with the seed, the thread's number and the time: a run is not repeated by its seed, it only differs from others.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// How often a thread waits, and how long at most.
struct pace {
    unsigned one_in;
    unsigned microseconds;
};

// A thread is restless, slow now and then, or hardly ever but long. Odd seeds delay more.
static const struct pace PACES[2][3] = {
    {{60, 8000}, {400, 40000}, {4000, 150000}},
    {{12, 12000}, {100, 80000}, {1500, 500000}},
};

static __thread uint64_t state;
static __thread struct pace pace;

static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void begin(void) {
    const char *text = getenv("UNCHOKE_DELAYS");
    uint64_t seed = text ? strtoull(text, NULL, 10) : 0;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    state = ((seed + 1) * 0x9E3779B97F4A7C15ull ^ (uint64_t)gettid() << 20 ^ (uint64_t)now.tv_nsec) | 1;
    for (int i = 0; i < 5; i++) {
        draw();
    }
    pace = PACES[seed % 2][draw() % 3];
}

static void delay(void) {
    int error = errno;
    if (state == 0) {
        begin();
    }
    if (draw() % pace.one_in == 0) {
        struct timespec time = {0, (long)(draw() % pace.microseconds) * 1000};
        nanosleep(&time, NULL);
    }
    errno = error;
}

// A call of this name, delayed before and after.
#define DELAYED(type, name, parameters, arguments) \
    type name parameters {                         \
        static type(*real) parameters;             \
        if (!real) {                               \
            real = dlsym(RTLD_NEXT, #name);        \
        }                                          \
        delay();                                   \
        type result = real arguments;              \
        delay();                                   \
        return result;                             \
    }

DELAYED(ssize_t, read, (int f, void *to, size_t n), (f, to, n))
DELAYED(ssize_t, write, (int f, const void *from, size_t n), (f, from, n))
DELAYED(ssize_t, pread64, (int f, void *to, size_t n, off64_t at), (f, to, n, at))
DELAYED(ssize_t, pwrite64, (int f, const void *from, size_t n, off64_t at), (f, from, n, at))
DELAYED(ssize_t, readv, (int f, const struct iovec *to, int n), (f, to, n))
DELAYED(ssize_t, writev, (int f, const struct iovec *from, int n), (f, from, n))
DELAYED(ssize_t, recv, (int f, void *to, size_t n, int flags), (f, to, n, flags))
DELAYED(ssize_t, send, (int f, const void *from, size_t n, int flags), (f, from, n, flags))
DELAYED(ssize_t, recvmsg, (int f, struct msghdr *to, int flags), (f, to, flags))
DELAYED(ssize_t, sendmsg, (int f, const struct msghdr *from, int flags), (f, from, flags))
DELAYED(ssize_t, recvfrom, (int f, void *to, size_t n, int flags, struct sockaddr *who, socklen_t *len),
        (f, to, n, flags, who, len))
DELAYED(ssize_t, sendto, (int f, const void *from, size_t n, int flags, const struct sockaddr *who, socklen_t len),
        (f, from, n, flags, who, len))
DELAYED(int, connect, (int f, const struct sockaddr *who, socklen_t len), (f, who, len))
DELAYED(int, accept4, (int f, struct sockaddr *who, socklen_t *len, int flags), (f, who, len, flags))
DELAYED(int, epoll_wait, (int f, struct epoll_event *events, int n, int timeout), (f, events, n, timeout))
DELAYED(int, fsync, (int f), (f))
DELAYED(int, fdatasync, (int f), (f))
DELAYED(int, rename, (const char *from, const char *to), (from, to))
DELAYED(int, unlink, (const char *path), (path))

// Locks and condition variables of Rust's standard library come this way.
long syscall(long number, ...) {
    static long (*real)(long, ...);
    if (!real) {
        real = dlsym(RTLD_NEXT, "syscall");
    }
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(list, long);
    }
    va_end(list);
    if (number == SYS_gettid) {
        return real(number);
    }
    delay();
    long result = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    delay();
    return result;
}
