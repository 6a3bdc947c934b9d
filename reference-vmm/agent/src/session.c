// Frames over a byte stream that neither reading nor writing waits for.
#include "agent.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum {
  MARK = 16,
  NONCE = 16,
  // What answers may take while data waits to be written.
  RESERVE = 64 * 1024,
  ANSWER = 1024,
  OUTPUT = 2 * MAX_LENGTH + RESERVE,
};

static const char mark[MARK + 1] = "VMM-AGENT-SYNC\r\n";
static int channel_fd = -1;
static uint8_t input[MAX_LENGTH + 4];
static size_t input_size;
static uint8_t output[OUTPUT];
static size_t output_start, output_end;
// Looking for a mark: how much of it and of the bytes behind it has come.
static bool synchronized;
static uint8_t opening[MARK + NONCE];
static size_t opening_size;

uint64_t read_number(struct reader *reader, size_t bytes) {
  if (reader->left < bytes) {
    reader->bad = true;
    return 0;
  }
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; i++) value |= (uint64_t)reader->at[i] << (8 * i);
  reader->at += bytes;
  reader->left -= bytes;
  return value;
}

const char *read_string(struct reader *reader) {
  const uint8_t *end = reader->left == 0 ? NULL : memchr(reader->at, 0, reader->left);
  if (end == NULL) {
    reader->bad = true;
    return "";
  }
  const char *text = (const char *)reader->at;
  reader->left -= (size_t)(end - reader->at) + 1;
  reader->at = end + 1;
  return text;
}

void put_number(uint8_t *at, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static void drop_streams(void) {
  command_reset();
  tree_reset();
}

void session_open(int fd) {
  channel_fd = fd;
  synchronized = false;
  input_size = opening_size = output_start = output_end = 0;
  drop_streams();
}

int session_fd(void) {
  return channel_fd;
}

static size_t waiting(void) {
  return output_end - output_start;
}

bool session_has_reserve(void) {
  return OUTPUT - waiting() >= ANSWER;
}

short session_events(void) {
  // Whoever does not take answers gets no more questions read.
  return (short)((OUTPUT - waiting() >= RESERVE / 2 ? POLLIN : 0) | (waiting() > 0 ? POLLOUT : 0));
}

size_t session_room(void) {
  const size_t used = waiting() + RESERVE + HEADER_BYTES + 1;
  if (used >= OUTPUT) return 0;
  return OUTPUT - used < MAX_DATA ? OUTPUT - used : MAX_DATA;
}

static uint8_t *make_room(size_t size) {
  if (OUTPUT - output_end < size) {
    memmove(output, output + output_start, waiting());
    output_end -= output_start;
    output_start = 0;
  }
  // Everybody asked for room before.
  if (OUTPUT - output_end < size) abort();
  return output + output_end;
}

static void finish(uint8_t *frame, enum frame_type type, uint32_t stream, size_t size) {
  put_number(frame, size + 5, 4);
  frame[4] = (uint8_t)type;
  put_number(frame + 5, stream, 4);
  output_end += HEADER_BYTES + size;
}

uint8_t *data_begin(void) {
  return make_room(HEADER_BYTES + 1 + session_room()) + HEADER_BYTES + 1;
}

void data_commit(uint32_t stream, enum channel channel, size_t size) {
  uint8_t *frame = output + output_end;
  frame[HEADER_BYTES] = (uint8_t)channel;
  finish(frame, DATA, stream, size + 1);
}

void send_frame(enum frame_type type, uint32_t stream, const void *payload, size_t size) {
  uint8_t *frame = make_room(HEADER_BYTES + size);
  if (size > 0) memcpy(frame + HEADER_BYTES, payload, size);
  finish(frame, type, stream, size);
}

void send_end(uint32_t stream, enum channel channel) {
  const uint8_t payload = (uint8_t)channel;
  send_frame(END_OF_FILE, stream, &payload, 1);
}

void send_credit(uint32_t stream, enum channel channel, uint32_t bytes) {
  uint8_t payload[5] = {(uint8_t)channel};
  put_number(payload + 1, bytes, 4);
  send_frame(CREDIT, stream, payload, sizeof payload);
}

void send_error(uint32_t stream, int error, const char *what) {
  uint8_t payload[4 + 512];
  put_number(payload, (uint64_t)error, 4);
  const char *reason = strerror(error);
  size_t size = strnlen(what, 400);
  memcpy(payload + 4, what, size);
  if (size > 0) {
    memcpy(payload + 4 + size, ": ", 2);
    size += 2;
  }
  const size_t reason_size = strnlen(reason, 100);
  memcpy(payload + 4 + size, reason, reason_size);
  send_frame(ERROR, stream, payload, 4 + size + reason_size);
}

static void answer(uint32_t stream, int error) {
  if (error == 0) send_frame(DONE, stream, NULL, 0);
  else send_error(stream, error, "");
}

static void handle(enum frame_type type, uint32_t stream, struct reader *payload) {
  switch (type) {
    case EXEC:
    case PUT:
    case GET:
      if (command_count() + tree_count() >= MAX_STREAMS) send_error(stream, EAGAIN, "too many at once");
      else if (type == EXEC) command_start(stream, payload);
      else if (type == PUT) tree_put(stream, payload);
      else tree_get(stream, payload);
      break;
    case CLOCK: answer(stream, set_clock(payload)); break;
    case ENTROPY: answer(stream, add_entropy(payload)); break;
    case NETWORK: answer(stream, set_network(payload)); break;
    case PING: answer(stream, 0); break;
    case SHUTDOWN:
      shutdown_request = 1 + (int)(read_number(payload, 1) & 1);
      answer(stream, 0);
      break;
    default:
      // For a stream that has ended: sent before the host knew.
      if (!command_frame(stream, type, payload)) tree_frame(stream, type, payload);
  }
}

static void greet(void) {
  struct utsname system;
  if (uname(&system) != 0) strcpy(system.machine, "unknown");
  output_start = output_end = 0;
  memcpy(make_room(sizeof opening), opening, sizeof opening);
  output_end += sizeof opening;
  uint8_t payload[2 + sizeof system.machine];
  put_number(payload, PROTOCOL_VERSION, 2);
  const size_t size = strlen(system.machine) + 1;
  memcpy(payload + 2, system.machine, size);
  send_frame(HELLO, 0, payload, 2 + size);
}

// Takes one byte of what may be a mark. No prefix of it occurs in it again, so a mismatch starts over.
static void look_for_mark(uint8_t byte) {
  if (opening_size < MARK && byte != (uint8_t)mark[opening_size]) opening_size = 0;
  if (opening_size >= MARK || byte == (uint8_t)mark[opening_size]) opening[opening_size++] = byte;
  if (opening_size < sizeof opening) return;
  opening_size = 0;
  synchronized = true;
  greet();
}

void session_handle(void) {
  size_t done = 0;
  while (done < input_size) {
    if (!synchronized) {
      look_for_mark(input[done++]);
      continue;
    }
    struct reader reader = {input + done, input_size - done, false};
    if (reader.left < 4) break;
    const size_t length = read_number(&reader, 4);
    if (length < 5 || length > MAX_LENGTH) {
      synchronized = false;
      drop_streams();
      output_start = output_end = 0;
      continue;
    }
    if (reader.left < length || OUTPUT - waiting() < RESERVE / 2) break;
    reader.left = length;
    const enum frame_type type = (enum frame_type)read_number(&reader, 1);
    const uint32_t stream = (uint32_t)read_number(&reader, 4);
    handle(type, stream, &reader);
    done += 4 + length;
  }
  input_size -= done;
  memmove(input, input + done, input_size);
}

bool session_receive(void) {
  if (input_size < sizeof input) {
    const ssize_t count = read(channel_fd, input + input_size, sizeof input - input_size);
    if (count == 0) return false;
    if (count < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (count > 0) input_size += (size_t)count;
  }
  return true;
}

bool session_flush(void) {
  while (waiting() > 0) {
    const ssize_t count = write(channel_fd, output + output_start, waiting());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN;
    output_start += (size_t)count;
  }
  output_start = output_end = 0;
  return true;
}
