/* No password is left in the memory of the process when its handle is closed.  RDC_URL is the URL of a cluster whose
 * default user has no password: it accepts any.
 *
 * Each password contains SECRET, which this program holds only in a disguised form, and only here while a call uses it.
 * The program reads all its writable memory in place, without a copy of it. */
#define _POSIX_C_SOURCE 200112L
#include "check.h"
#include <stdint.h>
#include <stdio.h>

enum { MASK = 0x55, LENGTH = 24, SPACE = 4096 };

/* "correct-horse-battery-42", with each byte XOR MASK. */
static unsigned char disguised[LENGTH];
static char url[SPACE], text[SPACE], script[SPACE];

static void disguise(void) {
    /* Two halves, so that no string of this program contains the password. */
    static const char *const halves[] = {"correct-hors", "e-battery-42"};
    for (int i = 0; i < LENGTH; i++)
        disguised[i] = (unsigned char)(halves[i / 12][i % 12] ^ MASK);
}

/* Replaces each '@' + '@' of `format` by the password. */
static const char *reveal(char *out, const char *format) {
    volatile char *at = out;
    for (; *format; format++) {
        if (format[0] == '@' && format[1] == '@') {
            for (int i = 0; i < LENGTH; i++)
                *at++ = (char)(disguised[i] ^ MASK);
            format++;
        } else {
            *at++ = *format;
        }
    }
    *at = '\0';
    return out;
}

static void wipe(void) {
    volatile char *const buffers[] = {url, text, script};
    for (int b = 0; b < 3; b++)
        for (int i = 0; i < SPACE; i++)
            buffers[b][i] = 0;
}

static int is_secret(const volatile unsigned char *at) {
    for (int i = 0; i < LENGTH; i++)
        if ((at[i] ^ MASK) != disguised[i])
            return 0;
    return 1;
}

/* How many copies of the password lie in the writable memory of this process. */
static int copies(void) {
    static char line[512];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long long begin, end;
        char access[5];
        if (sscanf(line, "%llx-%llx %4s", &begin, &end, access) != 3 || strncmp(access, "rw", 2) != 0)
            continue;
        const volatile unsigned char *memory = (const volatile unsigned char *)(uintptr_t)begin;
        for (size_t i = 0; i + LENGTH <= (size_t)(end - begin); i++)
            if ((memory[i] ^ MASK) == disguised[0] && is_secret(memory + i)) {
                found++;
                printf("   # at %p, in %s", (const void *)(uintptr_t)(begin + i), line);
            }
    }
    if (maps)
        fclose(maps);
    return found;
}

static void check_no_copies(const char *name) {
    wipe();
    int left = copies();
    if (!check(left == 0, name))
        printf("   # %d copies\n", left);
}

static const char *hosts(void) {
    const char *all = getenv("RDC_URL");
    return all ? strstr(all, "://") + 3 : "";
}

/* Commands on connections of all kinds and to all nodes. */
static void use(rdc_client *client) {
    char key[16];
    check(rdc_client_error(client) == NULL, "the cluster accepts the password");
    for (int i = 0; i < 32; i++) {
        snprintf(key, sizeof key, "secret:%d", i);
        check(rdc_reply_free(rdc_set_px(client, key, RDC_NTS, "v", 1, 60000)) == RDC_OK, "a write");
        rdc_reply_free(rdc_cmd(client, "BLPOP", "secret:list", "0.001"));
    }
    rdc_client *reader = rdc_readonly(client);
    for (int i = 0; i < 32; i++) {
        snprintf(key, sizeof key, "secret:%d", i);
        check(rdc_reply_free(rdc_get(reader, key, RDC_NTS)) == RDC_OK, "a read from any node");
    }
    check(rdc_reply_free(rdc_refresh(reader)) == RDC_OK, "a refresh");
    rdc_close(reader);
}

static rdc_client *from_url(const char *user, const char *options) {
    char format[SPACE / 2];
    snprintf(format, sizeof format, "redis://%s%s%s", user, hosts(), options);
    return rdc_create(reveal(url, format));
}

static rdc_client *from_options(const char *protocol) {
    rdc_options *options = rdc_options_new();
    check(rdc_options_set(options, "url", getenv("RDC_URL")) == RDC_OK, "the url is set");
    check(rdc_options_set(options, "protocol", protocol) == RDC_OK, "the protocol is set");
    check(rdc_options_set(options, "user", "default") == RDC_OK, "the user is set");
    check(rdc_options_set(options, "password", reveal(text, "p/@@?")) == RDC_OK, "the password is set");
    rdc_client *client = rdc_create_with(options);
    rdc_options_free(options);
    return client;
}

/* The second of these commands makes the buffer grow behind the password. */
static void pipeline(rdc_client *client) {
    static char large[200000];
    memset(large, 'x', sizeof large - 1);
    rdc_pipeline *p = rdc_pipeline_new(client);
    rdc_pipeline_command(p, 4, (const char *const[]){"ACL", "SETUSER", "rdc-secret", reveal(text, ">@@")}, NULL);
    rdc_pipeline_set_px(p, "secret:large", RDC_NTS, large, sizeof large - 1, 60000);
    rdc_pipeline_command(p, 2, (const char *const[]){"AUTH", reveal(script, "@@")}, NULL);
    rdc_reply *r = rdc_pipeline_execute(p);
    check(rdc_reply_len(r) == 3 && rdc_reply_error(rdc_reply_at(r, 0)) == RDC_OK, "a pipeline sets a password");
    const char *message = rdc_reply_str(rdc_reply_at(r, 2));
    if (!check(message && strstr(message, "(AUTH) of pipeline") && !strstr(message, script), "its title shows none"))
        printf("   # %s\n", message ? message : "(no message)");
    rdc_reply_free(r);
    rdc_pipeline_free(p);
}

static void commands(rdc_client *client) {
    rdc_client *pinned = rdc_pin(client, "secret:1", RDC_NTS);
    check(rdc_reply_free(rdc_cmd(pinned, "AUTH", "default", reveal(text, "@@"))) == RDC_OK, "AUTH, pinned");
    check(rdc_reply_free(rdc_cmd(pinned, "HELLO", "3", "AUTH", "default", reveal(text, "@@"))) == RDC_OK, "HELLO, pinned");
    pipeline(pinned);
    rdc_close(pinned);
    pipeline(client);
    check(rdc_reply_free(rdc_cmd(client, "ACL", "SETUSER", "rdc-secret", reveal(text, ">@@"))) == RDC_OK, "ACL SETUSER");
    reveal(text, "*4\r\n$3\r\nACL\r\n$7\r\nSETUSER\r\n$10\r\nrdc-secret\r\n$25\r\n>@@\r\n");
    check(rdc_reply_free(rdc_command_resp(client, text, strlen(text))) == RDC_OK, "ACL SETUSER, encoded");
    const char *const argv[] = {"ACL", "SETUSER", "rdc-secret", reveal(text, ">@@")};
    rdc_reply *r = rdc_command_to(client, "all", 4, argv, NULL);
    check(rdc_reply_type(r) == RDC_MAP, "ACL SETUSER to all nodes");
    rdc_reply_free(r);
    rdc_reply_free(rdc_cmd(client, "MIGRATE", "127.0.0.1", "1", "secret:1", "0", "50", "AUTH", reveal(text, "@@")));
    rdc_reply_free(rdc_cmd(client, "CONFIG", "SET", "masterauth", reveal(text, "@@")));
    rdc_reply_free(rdc_cmd(client, "CONFIG", "SET", "masterauth", ""));
    check(rdc_reply_free(rdc_cmd(client, "ACL", "DELUSER", "rdc-secret")) == RDC_OK, "ACL DELUSER");
    check_no_copies("commands with passwords leave no copy, even before the handle is closed");
}

int main(void) {
    disguise();
    reveal(text, "@@");
    check(copies() == 1, "a password in memory is found");
    check_no_copies("the program itself keeps none");

    struct {
        const char *user, *options, *name;
    } const forms[] = {
        {"default:@@@", "", "a password in the URL"},
        {"default:%40@@%2F@", "", "an encoded password in the URL"},
        {"default:@@@", "?protocol=2", "a password in the URL, with RESP2"},
        {"", "?user=default&password=%40@@", "a password among the options of the URL"},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        rdc_client *client = from_url(forms[i].user, forms[i].options);
        use(client);
        rdc_close(client);
        check_no_copies(forms[i].name);
    }
    for (int protocol = 2; protocol <= 3; protocol++) {
        rdc_client *client = from_options(protocol == 2 ? "2" : "3");
        use(client);
        rdc_close(client);
        check_no_copies("a password in an option");
    }
    rdc_close(from_url("nobody:@@@", "?timeout_ms=200"));
    check_no_copies("a password that is refused");
    rdc_close(from_url("default:@@@", "/7?nonsense=1"));
    check_no_copies("a URL that is refused");

    rdc_client *client = rdc_create(getenv("RDC_URL"));
    commands(client);
    rdc_close(client);
    return check_done();
}
