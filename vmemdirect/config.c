/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of -vmemdirect.
 *
 * A table of keys and setters, so that a new option is one line and one
 * function. Threads: main thread.
 */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "util/error.h"
#include "util/size.h"

VmdConfig *vmd_config_new(void)
{
    VmdConfig *cfg = g_new0(VmdConfig, 1);

    cfg->aging_interval_ms = 1000;
    cfg->poll_us = 50;
    cfg->stop_on_write_error = true;
    cfg->io_timeout_s = 30;
    cfg->stop_on_timeout = true;
    return cfg;
}

void vmd_config_free(VmdConfig *cfg)
{
    if (cfg) {
        g_free(cfg->swap);
        g_free(cfg->tracker_root);
        g_free(cfg);
    }
}

static bool bad_value(const char *key, const char *value, const char *want,
                      GError **errp)
{
    return vm_error_set(errp, 0, "vmemdirect: %s='%s': %s expected", key,
                        value, want);
}

static bool parse_number(const char *key, const char *value, uint64_t low,
                         uint64_t high, uint64_t *ret, GError **errp)
{
    guint64 n;

    if (!g_ascii_string_to_unsigned(value, 10, low, high, &n, NULL)) {
        return vm_error_set(errp, 0,
                            "vmemdirect: %s='%s': a number from %" PRIu64
                            " to %" PRIu64 " expected",
                            key, value, low, high);
    }
    *ret = n;
    return true;
}

/* Index of value in the NULL-terminated list of words, or -1. */
static int word_index(const char *value, const char *const *words)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(value, words[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static bool set_swap(VmdConfig *cfg, const char *value, GError **errp)
{
    if (value[0] == '\0') {
        return bad_value("swap", value, "a file name", errp);
    }
    g_free(cfg->swap);
    cfg->swap = g_strdup(value);
    return true;
}

static bool set_memory(VmdConfig *cfg, const char *value, GError **errp)
{
    uint64_t bytes;

    if (!vm_size_parse(value, 1, "vmemdirect: memory", &bytes, errp)) {
        return false;
    }
    if (bytes < RAM_PAGE_BYTES || bytes > (UINT64_C(1) << 52)) {
        return bad_value("memory", value, "a size from 4K to 4096T", errp);
    }
    cfg->memory_bytes = bytes;
    return true;
}

static bool set_chunk_pages(VmdConfig *cfg, const char *value, GError **errp)
{
    uint64_t n = 0;

    if (strcmp(value, "auto") == 0) {
        cfg->chunk_pages = 0;
        return true;
    }
    if (!parse_number("chunk-pages", value, 1, RAM_CHUNK_PAGES_MAX, &n,
                      errp)) {
        return false;
    }
    if ((n & (n - 1)) != 0) {
        return bad_value("chunk-pages", value, "a power of two", errp);
    }
    cfg->chunk_pages = (uint32_t)n;
    return true;
}

static bool set_mode(VmdConfig *cfg, const char *value, GError **errp)
{
    static const char *const words[] = { "auto", "move", "copy", NULL };
    int i = word_index(value, words);

    if (i < 0) {
        return bad_value("mode", value, "auto, move or copy", errp);
    }
    cfg->mode = (VmdMode)i;
    return true;
}

static bool set_io(VmdConfig *cfg, const char *value, GError **errp)
{
    static const char *const words[] = { "auto", "io_uring", "libaio", NULL };
    int i = word_index(value, words);

    if (i < 0) {
        return bad_value("io", value, "auto, io_uring or libaio", errp);
    }
    cfg->io = (VmdIoKind)i;
    return true;
}

static bool set_tracker(VmdConfig *cfg, const char *value, GError **errp)
{
    static const char *const words[] = { "auto", "rwp", "idle", "damon",
                                         "soft", "off", NULL };
    int i = word_index(value, words);

    if (i < 0) {
        return bad_value("tracker", value,
                         "auto, rwp, idle, damon, soft or off", errp);
    }
    cfg->tracker = (VmdTrackerKind)i;
    return true;
}

static bool set_poll(VmdConfig *cfg, const char *value, GError **errp)
{
    return parse_number("poll-us", value, 0, 1000, &cfg->poll_us, errp);
}

static bool set_aging_interval(VmdConfig *cfg, const char *value,
                               GError **errp)
{
    return parse_number("aging-interval", value, 10, 3600000,
                        &cfg->aging_interval_ms, errp);
}

static bool parse_switch(const char *key, const char *value, bool *ret_on,
                         GError **errp)
{
    static const char *const words[] = { "off", "on", NULL };
    int i = word_index(value, words);

    if (i < 0) {
        return bad_value(key, value, "on or off", errp);
    }
    *ret_on = i == 1;
    return true;
}

static bool set_keep_swap(VmdConfig *cfg, const char *value, GError **errp)
{
    return parse_switch("keep-swap", value, &cfg->keep_swap, errp);
}

static bool set_checksum(VmdConfig *cfg, const char *value, GError **errp)
{
    return parse_switch("checksum", value, &cfg->checksum, errp);
}

static bool set_encrypt(VmdConfig *cfg, const char *value, GError **errp)
{
    return parse_switch("encrypt", value, &cfg->encrypt, errp);
}

static bool parse_policy(const char *key, const char *value, bool *ret_stop,
                         GError **errp)
{
    static const char *const words[] = { "report", "stop", NULL };
    int i = word_index(value, words);

    if (i < 0) {
        return bad_value(key, value, "stop or report", errp);
    }
    *ret_stop = i == 1;
    return true;
}

static bool set_write_error(VmdConfig *cfg, const char *value, GError **errp)
{
    return parse_policy("write-error", value, &cfg->stop_on_write_error,
                        errp);
}

static bool set_read_error(VmdConfig *cfg, const char *value, GError **errp)
{
    return strcmp(value, "stop") == 0 ||
           bad_value("read-error", value, "stop", errp);
}

static bool set_io_timeout(VmdConfig *cfg, const char *value, GError **errp)
{
    return parse_number("io-timeout", value, 0, 3600, &cfg->io_timeout_s,
                        errp);
}

static bool set_timeout_error(VmdConfig *cfg, const char *value,
                              GError **errp)
{
    return parse_policy("timeout-error", value, &cfg->stop_on_timeout, errp);
}

static const struct {
    const char *key;
    bool (*set)(VmdConfig *cfg, const char *value, GError **errp);
} options[] = {
    { "swap", set_swap },
    { "memory", set_memory },
    { "chunk-pages", set_chunk_pages },
    { "mode", set_mode },
    { "io", set_io },
    { "tracker", set_tracker },
    { "aging-interval", set_aging_interval },
    { "poll-us", set_poll },
    { "keep-swap", set_keep_swap },
    { "checksum", set_checksum },
    { "encrypt", set_encrypt },
    { "write-error", set_write_error },
    { "read-error", set_read_error },
    { "io-timeout", set_io_timeout },
    { "timeout-error", set_timeout_error },
};

bool vmd_config_set(VmdConfig *cfg, const char *key, const char *value,
                    GError **errp)
{
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        if (strcmp(key, options[i].key) == 0) {
            return options[i].set(cfg, value, errp);
        }
    }
    return vm_error_set(errp, 0, "vmemdirect: unknown option '%s'", key);
}
