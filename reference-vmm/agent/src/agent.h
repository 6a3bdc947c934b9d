// vmm-agent: runs commands and moves files for the host. See ../protocol.md.
#ifndef AGENT_H
#define AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>

enum {
  PROTOCOL_VERSION = 1,
  HEADER_BYTES = 9,
  MAX_LENGTH = 65545,
  MAX_DATA = 65536,
  MAX_ENTRY = 8 * 1024 + 64,
  WINDOW = 262144,
  MAX_STREAMS = 256,
  MAX_PATH = 4096,
};

enum frame_type {
  HELLO = 1, EXEC, DATA, END_OF_FILE, CREDIT, RESIZE, SIGNAL, EXIT, ERROR, PUT, GET, ENTRY, DONE,
  CLOCK, ENTROPY, NETWORK, SHUTDOWN, PING, ABORT,
};

enum channel { STDIN, STDOUT, STDERR };

// A payload that is being read; `bad` once it was too short or malformed.
struct reader {
  const uint8_t *at;
  size_t left;
  bool bad;
};

uint64_t read_number(struct reader *reader, size_t bytes);
// Up to its NUL; "" when there is none.
const char *read_string(struct reader *reader);
void put_number(uint8_t *at, uint64_t value, size_t bytes);

// session.c: the byte stream.
void session_open(int fd);
int session_fd(void);
// Which events of the byte stream are waited for.
short session_events(void);
// Reads what came; false when the peer is gone.
bool session_receive(void);
// Handles frames that are there in full, as long as their answers have room.
void session_handle(void);
// Writes what waits; false when the peer is gone.
bool session_flush(void);
// Bytes of data that a stream may send now, at most MAX_DATA; 0 when the output is full.
size_t session_room(void);
// Whether answers to what happens still have room: before each is asked for.
bool session_has_reserve(void);
// Where the data of a DATA frame goes, and its end.
uint8_t *data_begin(void);
void data_commit(uint32_t stream, enum channel channel, size_t size);
void send_frame(enum frame_type type, uint32_t stream, const void *payload, size_t size);
void send_end(uint32_t stream, enum channel channel);
void send_credit(uint32_t stream, enum channel channel, uint32_t bytes);
void send_error(uint32_t stream, int error, const char *what);

// command.c: processes.
void command_start(uint32_t stream, struct reader *payload);
// False: this is no stream of a command.
bool command_frame(uint32_t stream, enum frame_type type, struct reader *payload);
size_t command_count(void);
size_t command_poll(struct pollfd *polls);
// Moves data; `polls` as command_poll filled it.
void command_work(const struct pollfd *polls);
// Reaps; the exit status of `watched`, or -1.
int command_reap(int watched);
// Output is left of a command that has ended, for which there is credit and room.
bool command_pending(void);
void command_reset(void);

// spawn.c
struct spawn {
  char *const *arguments;
  char *const *environment;
  const char *directory;
  bool any_directory;  // the root where there is no such one
  bool tty;
  int input, output, error;  // with a terminal all the same
  bool change_user;
  uint32_t uid, gid;
  uint32_t groups[64];
  size_t group_count;
  volatile int failure;
};
// The process, or -1 with errno.
int start_process(struct spawn *spawn);
int open_terminal(int *peer, unsigned rows, unsigned columns);

// user.c: fills user and groups; false with errno. `home` has room for MAX_PATH.
bool find_user(const char *user, struct spawn *spawn, char *home);

// tree.c: files.
void tree_put(uint32_t stream, struct reader *payload);
void tree_get(uint32_t stream, struct reader *payload);
bool tree_frame(uint32_t stream, enum frame_type type, struct reader *payload);
size_t tree_count(void);
// Sends more of what is got; false when there is nothing to send now.
bool tree_work(void);
void tree_reset(void);

// button.c: 0 once it has been pressed, 1 when there is none.
int wait_for_power_button(void);

// system.c: requests, and the duties of a first process.
int set_clock(struct reader *payload);
int add_entropy(struct reader *payload);
int set_network(struct reader *payload);
void shut_down(bool reboot, bool direct);
void become_init(void);
extern bool direct_shutdown;
// SHUTDOWN was asked for: 1 power off, 2 reboot.
extern int shutdown_request;

#endif
