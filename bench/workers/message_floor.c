/* A bare socket: messages are counted by their bytes and not decoded. */
#include "message_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static int connection;

int peer_subscribe(const char *host, int port)
{
    static const char command[] = "SUBSCRIBE " CHANNEL "\r\n";
    static const char confirmed[] = "*3\r\n$9\r\nsubscribe\r\n$5\r\n" CHANNEL "\r\n:1\r\n";
    char reply[sizeof confirmed];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    connection = socket(AF_INET, SOCK_STREAM, 0);
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 ||
        connect(connection, (struct sockaddr *)&address, sizeof address) != 0 ||
        send(connection, command, sizeof command - 1, 0) != sizeof command - 1 ||
        recv(connection, reply, sizeof confirmed - 1, MSG_WAITALL) != sizeof confirmed - 1)
        return -1;
    return memcmp(reply, confirmed, sizeof confirmed - 1);
}

long peer_take(void)
{
    enum { FRAME = sizeof "*3\r\n$7\r\nmessage\r\n$5\r\n" CHANNEL "\r\n$16\r\n0123456789abcdef\r\n" - 1 };
    static char buffer[64 * 1024];
    static long rest;
    long received = recv(connection, buffer, sizeof buffer, 0);
    if (received <= 0)
        return -1;
    rest += received;
    long count = rest / FRAME;
    rest %= FRAME;
    return count;
}
