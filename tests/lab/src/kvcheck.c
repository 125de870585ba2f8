/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvcheck: fills a memcached on this host with values that it knows, and
 * verifies each that it reads.
 *
 *     kvcheck mib=N [value=BYTES] [hot=PERCENT] [sets=PERCENT] [port=N]
 *             [seed=N]
 *
 * SIGTERM ends it with a last look at all keys.
 *
 * The cache must be large enough never to evict: a key that is not there is
 * lost. Each value is made of its key's number and how often that was set, so
 * an older value, one of another key, and wrong bytes all differ from what is
 * expected. Nine of ten requests are for the hot part of the keys.
 *
 * Prints, for the harness:
 *   KV fill t=S keys=N               once a second, until then
 *   KV filled keys=N secs=S          all keys are set
 *   KV beat t=S ops=N                once a second; ops since the last
 *   KV gap ms=N t=S                  one request took over GAP_NS
 *   KV lost key=N | KV wrong key=N   (the first few)
 *   KV done gets=N sets=N lost=N wrong=N
 * Exit status 0: no key was lost, and no byte wrong.
 *
 * Protocol: memcached's doc/protocol.txt, "set" and "get" of the text form.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define GAP_NS 200000000ull
#define MAX_VALUE 65536u
#define MAX_REPORTS 5u
#define HOT_REQUESTS 90u /* of 100 */
#define CONNECT_TRIES 300u

typedef struct Options {
    uint64_t mib, value, hot, sets, port, seed;
} Options;

typedef struct Client {
    const Options *o;
    FILE *in;
    int out;
    uint64_t random, keys, hot_keys;
    uint32_t *version; /* of each key, as set last */
    uint64_t gets, sets, lost, wrong, ops;
    uint64_t start_ns, beat_ns;
    unsigned char want[MAX_VALUE], got[MAX_VALUE + 2];
} Client;

static volatile sig_atomic_t stopped;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Spreads the bits of x; one to one (odd factors: digits of pi and e). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x243f6a8885a308d3ull;
    x = (x ^ (x >> 27)) * 0xb7e151628aed2a6bull;
    return x ^ (x >> 33);
}

static uint64_t next_random(Client *c)
{
    c->random += 0x9e3779b97f4a7c15ull;
    return mix(c->random);
}

static void die(const char *what)
{
    fprintf(stderr, "kvcheck: %s: %s\n", what,
            errno ? strerror(errno) : "the connection ended");
    exit(2);
}

static void make_value(Client *c, uint64_t key)
{
    uint64_t word = mix(c->o->seed ^ mix(key + 1) ^
                        ((uint64_t)c->version[key] << 40));

    for (size_t i = 0; i < c->o->value; i += sizeof(word)) {
        memcpy(c->want + i, &word, sizeof(word));
        word += 0xb7e151628aed2a6bull;
    }
}

static void put(Client *c, const void *bytes, size_t length)
{
    const char *next = bytes;

    while (length > 0) {
        ssize_t n = write(c->out, next, length);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            die("cannot write to memcached");
        }
        next += n;
        length -= (size_t)n;
    }
}

static void get_line(Client *c, char *line, int size)
{
    errno = 0;
    if (!fgets(line, size, c->in)) {
        die("cannot read from memcached");
    }
}

static void set(Client *c, uint64_t key)
{
    char line[128];
    int length = snprintf(line, sizeof(line), "set k%llu 0 0 %llu\r\n",
                          (unsigned long long)key,
                          (unsigned long long)c->o->value);

    c->version[key]++;
    make_value(c, key);
    put(c, line, (size_t)length);
    put(c, c->want, c->o->value);
    put(c, "\r\n", 2);
    get_line(c, line, sizeof(line));
    if (strcmp(line, "STORED\r\n") != 0) {
        fprintf(stderr, "kvcheck: set: memcached says %s", line);
        exit(2);
    }
    c->sets++;
}

static void report(uint64_t *count, const char *what, uint64_t key)
{
    if ((*count)++ < MAX_REPORTS) {
        printf("KV %s key=%llu\n", what, (unsigned long long)key);
    }
}

/* "VALUE key flags bytes", the bytes, "END"; or "END" alone. */
static void get(Client *c, uint64_t key)
{
    char line[128];
    unsigned long long number = 0, bytes = 0;
    int length = snprintf(line, sizeof(line), "get k%llu\r\n",
                          (unsigned long long)key);

    put(c, line, (size_t)length);
    c->gets++;
    get_line(c, line, sizeof(line));
    if (strcmp(line, "END\r\n") == 0) {
        report(&c->lost, "lost", key);
        return;
    }
    if (sscanf(line, "VALUE k%llu %*u %llu", &number, &bytes) != 2 ||
        bytes > MAX_VALUE) {
        fprintf(stderr, "kvcheck: get: memcached says %s", line);
        exit(2);
    }
    errno = 0;
    if (fread(c->got, 1, bytes + 2, c->in) != bytes + 2) {
        die("cannot read from memcached");
    }
    get_line(c, line, sizeof(line));
    make_value(c, key);
    if (number != key || bytes != c->o->value ||
        memcmp(c->got, c->want, bytes) != 0) {
        report(&c->wrong, "wrong", key);
    }
}

static void connect_to(Client *c, uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct timespec pause = { .tv_nsec = 100000000 };
    int one = 1;

    for (unsigned i = 0; i < CONNECT_TRIES; i++) {
        c->out = socket(AF_INET, SOCK_STREAM, 0);
        if (c->out < 0) {
            die("socket");
        }
        if (connect(c->out, (void *)&address, sizeof(address)) == 0) {
            setsockopt(c->out, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            c->in = fdopen(c->out, "r");
            if (!c->in) {
                die("fdopen");
            }
            return;
        }
        close(c->out);
        nanosleep(&pause, NULL);
    }
    die("nobody listens");
}

static double seconds(const Client *c, uint64_t now)
{
    return (double)(now - c->start_ns) / NS_PER_S;
}

static void fill(Client *c)
{
    for (uint64_t key = 0; key < c->keys; key++) {
        uint64_t now = now_ns();

        set(c, key);
        if (now - c->beat_ns >= NS_PER_S) {
            printf("KV fill t=%.2f keys=%llu\n", seconds(c, now),
                   (unsigned long long)key);
            c->beat_ns = now;
        }
    }
    printf("KV filled keys=%llu secs=%.2f\n", (unsigned long long)c->keys,
           seconds(c, now_ns()));
}

static void request(Client *c)
{
    uint64_t range =
        next_random(c) % 100 < HOT_REQUESTS ? c->hot_keys : c->keys;
    uint64_t key = next_random(c) % range;

    if (next_random(c) % 100 < c->o->sets) {
        set(c, key);
    } else {
        get(c, key);
    }
    c->ops++;
}

static void work(Client *c)
{
    uint64_t before = now_ns();

    c->beat_ns = before;
    while (!stopped) {
        uint64_t now;

        request(c);
        now = now_ns();
        if (now - before > GAP_NS) {
            printf("KV gap ms=%llu t=%.2f\n",
                   (unsigned long long)((now - before) / 1000000),
                   seconds(c, now));
        }
        if (now - c->beat_ns >= NS_PER_S) {
            printf("KV beat t=%.2f ops=%llu\n", seconds(c, now),
                   (unsigned long long)c->ops);
            c->ops = 0;
            c->beat_ns = now;
        }
        before = now;
    }
}

static bool parse(int argc, char **argv, Options *o)
{
    const struct {
        const char *name;
        uint64_t *value;
    } names[] = {
        { "mib", &o->mib },   { "value", &o->value }, { "hot", &o->hot },
        { "sets", &o->sets }, { "port", &o->port },   { "seed", &o->seed },
    };

    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '='), *end;
        bool known = false;

        for (unsigned n = 0; equals && n < sizeof(names) / sizeof(*names);
             n++) {
            size_t length = strlen(names[n].name);

            if ((size_t)(equals - argv[i]) == length &&
                strncmp(argv[i], names[n].name, length) == 0) {
                errno = 0;
                *names[n].value = strtoull(equals + 1, &end, 10);
                known = errno == 0 && end != equals + 1 && *end == '\0';
            }
        }
        if (!known) {
            fprintf(stderr, "kvcheck: cannot use '%s'\n", argv[i]);
            return false;
        }
    }
    return o->mib > 0 && o->mib < (1u << 20) && o->value >= 8 &&
           o->value <= MAX_VALUE && o->value % 8 == 0 && o->hot > 0 &&
           o->hot <= 100 && o->sets <= 100 && o->port > 0 && o->port < 65536;
}

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
}

static bool run(const Options *o)
{
    static Client c;

    c.o = o;
    c.random = mix(o->seed);
    c.keys = (o->mib << 20) / o->value;
    c.hot_keys = c.keys * o->hot / 100 > 0 ? c.keys * o->hot / 100 : 1;
    c.version = mmap(NULL, c.keys * sizeof(*c.version),
                     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                     0);
    if (c.version == MAP_FAILED) {
        die("mmap");
    }
    connect_to(&c, (uint16_t)o->port);
    c.start_ns = c.beat_ns = now_ns();
    fill(&c);
    work(&c);
    for (uint64_t key = 0; key < c.keys; key++) {
        get(&c, key);
    }
    printf("KV done gets=%llu sets=%llu lost=%llu wrong=%llu\n",
           (unsigned long long)c.gets, (unsigned long long)c.sets,
           (unsigned long long)c.lost, (unsigned long long)c.wrong);
    return c.lost == 0 && c.wrong == 0;
}

int main(int argc, char **argv)
{
    Options o = { .value = 4096, .hot = 10, .sets = 20, .port = 11211,
                  .seed = 1 };
    struct sigaction action = { .sa_handler = stop, .sa_flags = SA_RESTART };

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: kvcheck mib=N [value=BYTES] [hot=PERCENT] "
                        "[sets=PERCENT] [port=N] [seed=N]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGTERM, &action, NULL);
    return run(&o) ? 0 : 1;
}
