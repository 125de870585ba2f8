/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parameters of the test guest: "key=value,key=value" in -append. */
#include "guest.h"

struct Params params = {
    .seed = 1,
    .stride = 1,
    .cpus = 1,
    .rounds = 1,
    .round = 1000,
    .record = 1,
};

static const struct {
    const char *key;
    uint64_t *value;
} numbers[] = {
    { "mib", &params.mib },       { "hot", &params.hot },
    { "rate", &params.rate },     { "read", &params.read },
    { "verify", &params.verify }, { "secs", &params.secs },
    { "seed", &params.seed },     { "stride", &params.stride },
    { "mhz", &params.mhz },       { "cpus", &params.cpus },
    { "round", &params.round },   { "rounds", &params.rounds },
    { "warm", &params.warm },     { "settle", &params.settle },
    { "check", &params.check },   { "spread", &params.spread },
    { "record", &params.record }, { "balloon", &params.balloon },
    { "discard", &params.discard },
};

static const char *const patterns[] = {
    [PATTERN_RANDOM] = "random", [PATTERN_SEQ] = "seq",
    [PATTERN_ZIPF] = "zipf",     [PATTERN_SCAN] = "scan",
    [PATTERN_SORT] = "sort",
};

static bool same(const char *text, size_t bytes, const char *word)
{
    for (size_t i = 0; i < bytes; i++) {
        if (word[i] == '\0' || text[i] != word[i]) {
            return false;
        }
    }
    return word[bytes] == '\0';
}

bool word_is(struct Word word, const char *text)
{
    return same(word.text, word.bytes, text);
}

static uint64_t number(const char *text, size_t bytes)
{
    uint64_t value = 0;

    if (bytes == 0 || bytes > 18) {
        fatal("bad number in -append");
    }
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9') {
            fatal("bad number in -append");
        }
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    return value;
}

static void set_pattern(const char *text, size_t bytes)
{
    for (unsigned i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        if (same(text, bytes, patterns[i])) {
            params.pattern = (enum Pattern)i;
            return;
        }
    }
    fatal("unknown pattern in -append");
}

static void set_fill(const char *text, size_t bytes)
{
    if (same(text, bytes, "zero-part")) {
        params.zero_part = true;
    } else if (!same(text, bytes, "random")) {
        fatal("unknown fill in -append");
    }
}

static void set_one(const char *key, size_t key_bytes, const char *value,
                    size_t value_bytes)
{
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (same(key, key_bytes, numbers[i].key)) {
            *numbers[i].value = number(value, value_bytes);
            return;
        }
    }
    if (same(key, key_bytes, "pattern")) {
        set_pattern(value, value_bytes);
    } else if (same(key, key_bytes, "fill")) {
        set_fill(value, value_bytes);
    } else if (same(key, key_bytes, "bench")) {
        params.bench = (struct Word){ value, value_bytes };
    } else if (same(key, key_bytes, "com")) {
        params.com1 = number(value, value_bytes) != 0;
    } else if (same(key, key_bytes, "acpi")) {
        params.acpi = number(value, value_bytes) != 0;
    } else if (same(key, key_bytes, "exit")) {
        params.exit = number(value, value_bytes) != 0;
    } else {
        fatal("unknown key in -append");
    }
}

static size_t word_bytes(const char *text)
{
    size_t n = 0;

    while (text[n] != '\0' && text[n] != ',' && text[n] != '=' &&
           text[n] != ' ') {
        n++;
    }
    return n;
}

static void check(void)
{
    if (params.cpus == 0 || params.cpus > MAX_CPUS) {
        fatal("cpus out of range");
    }
    if (params.read > 100 || params.stride == 0 || params.discard > 100) {
        fatal("read, stride or discard out of range");
    }
    if (params.record == 0 || params.record > RECORD_WORDS_MAX ||
        (params.record & (params.record - 1)) != 0) {
        fatal("record out of range");
    }
}

void params_parse(const char *text)
{
    while (*text != '\0') {
        size_t key_bytes = word_bytes(text), value_bytes;
        const char *value = text + key_bytes;

        if (key_bytes == 0) {
            text++; /* separator */
            continue;
        }
        if (*value != '=') {
            fatal("key without a value in -append");
        }
        value++;
        value_bytes = word_bytes(value);
        set_one(text, key_bytes, value, value_bytes);
        text = value + value_bytes;
    }
    check();
}
