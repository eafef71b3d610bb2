/* A forked child closes the sockets that it inherited, and no descriptor of the program that has the same number.
 * RDC_URL is the URL of a cluster. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAST = 200, FILES = 64 };

static rdc_client *client, *pinned;

static int is_fine(rdc_reply *r) {
    return rdc_reply_free(r) == RDC_OK;
}

/* As a daemon does: closes all descriptors but the standard ones, and opens its own, files and sockets. */
static void become_daemon(ino_t inodes[FILES]) {
    char name[] = "/tmp/rdc-fork-XXXXXX";
    struct stat status;
    for (int fd = 3; fd < LAST; fd++)
        close(fd);
    for (int i = 0; i < FILES; i++) {
        if (i % 2) {
            fstat(socket(AF_INET, SOCK_STREAM, 0), &status);
        } else {
            strcpy(name + sizeof name - 7, "XXXXXX");
            fstat(mkstemp(name), &status);
            unlink(name);
        }
        inodes[i] = status.st_ino;
    }
}

static int are_open(const ino_t inodes[FILES]) {
    struct stat status;
    for (int i = 0; i < FILES; i++)
        if (fstat(3 + i, &status) != 0 || status.st_ino != inodes[i])
            return 0;
    return 1;
}

static int open_sockets(void) {
    struct stat status;
    int count = 0;
    for (int fd = 3; fd < LAST; fd++)
        count += fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
    return count;
}

/* What a child does with the handles; the number is the exit code if a descriptor of its own is lost. */
static void use(int how) {
    ino_t inodes[FILES];
    become_daemon(inodes);
    int fine = 1;
    switch (how) {
    case 1:
        fine = is_fine(rdc_get(client, "fork:k", RDC_NTS)) && is_fine(rdc_get(pinned, "fork:k", RDC_NTS));
        break;
    case 2:
        rdc_close(pinned);
        rdc_close(client);
        break;
    case 3: /* the pinned handle frees its connection first */
        fine = is_fine(rdc_get(client, "fork:k", RDC_NTS));
        rdc_close(pinned);
        fine &= is_fine(rdc_refresh(client));
        rdc_close(client);
        break;
    }
    _exit(!are_open(inodes) ? how : !fine ? 100 : 0);
}

/* The child keeps its descriptors: the inherited sockets are closed when the handles are used or closed. */
static void keep(int how) {
    int inherited = open_sockets();
    rdc_client *other = NULL;
    if (how == 1) {
        is_fine(rdc_refresh(client));
        other = rdc_with(client, "timeout_ms", "900");
    }
    rdc_close(pinned);
    rdc_close(client);
    rdc_close(other);
    _exit(inherited < 3 ? 100 : open_sockets());
}

static int exit_code(pid_t child) {
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(void) {
    client = rdc_create(getenv("RDC_URL"));
    pinned = rdc_pin(client, "fork:k", RDC_NTS);
    check(is_fine(rdc_set(pinned, "fork:k", RDC_NTS, "v", 1)), "a pinned handle has a connection");
    check(is_fine(rdc_cmd(client, "MGET", "a", "b", "c", "d", "e", "f")), "the client has some");
    fflush(stdout);
    const char *uses[] = {"a call", "a close", "a close of a pinned handle"};
    for (int how = 1; how <= 3; how++) {
        pid_t child = fork();
        if (child == 0)
            use(how);
        int code = exit_code(child);
        printf("   # exit code %d\n", code);
        check(code == 0, uses[how - 1]);
    }
    for (int how = 0; how <= 1; how++) {
        pid_t child = fork();
        if (child == 0)
            keep(how);
        int code = exit_code(child);
        printf("   # exit code %d\n", code);
        check(code == 0, how ? "a child that used its handles keeps no inherited socket"
                             : "a child that closes its handles keeps no inherited socket");
    }
    check(is_fine(rdc_get(pinned, "fork:k", RDC_NTS)), "the parent's connections are open");
    rdc_close(pinned);
    rdc_close(client);
    return check_done();
}
