// Commands: their processes, pipes and terminals.
#include "agent.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FLAG_TTY = 1, FLAG_OWN_ENVIRONMENT = 2, POLLS = 3, MAX_ENVIRONMENT = 1024 };
static const char end_of_file_character = 4;

struct command {
  struct command *next;
  uint32_t stream;
  pid_t pid;
  bool tty, exited;
  // Ends of pipes, or the controlling side of a terminal; -1 once closed.
  int input, output[2];
  uint32_t credit[2];
  // After the end of the command: bytes that it had written.
  size_t left[2];
  // Input that the command has not taken.
  uint8_t *queue;
  size_t queue_start, queue_size;
  bool input_ends;
};

static struct command *commands;
static size_t count;
// Who sends first in a turn of the loop.
static size_t turn;

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static void free_command(struct command *command) {
  struct command **link = &commands;
  while (*link != command) link = &(*link)->next;
  *link = command->next;
  close_fd(&command->input);
  close_fd(&command->output[0]);
  close_fd(&command->output[1]);
  free(command->queue);
  free(command);
  count--;
}

static struct command *find(uint32_t stream) {
  struct command *command = commands;
  while (command != NULL && command->stream != stream) command = command->next;
  return command;
}

static bool is_over(const struct command *command) {
  return command->exited && command->output[0] < 0 && command->output[1] < 0;
}

static void close_output(struct command *command, int index) {
  if (command->output[index] < 0) return;
  close_fd(&command->output[index]);
  send_end(command->stream, index == 0 ? STDOUT : STDERR);
}

static void close_input(struct command *command) {
  if (command->input < 0) return;
  close_fd(&command->input);
  free(command->queue);
  command->queue = NULL;
  command->queue_size = 0;
  if (!command->exited) send_end(command->stream, STDIN);
}

static void write_input(struct command *command) {
  while (command->queue_size > 0 && session_has_reserve()) {
    const size_t to_end = WINDOW - command->queue_start;
    const size_t size = command->queue_size < to_end ? command->queue_size : to_end;
    const ssize_t written = write(command->input, command->queue + command->queue_start, size);
    if (written < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (written < 0) {
      close_input(command);
      return;
    }
    command->queue_start = (command->queue_start + (size_t)written) % WINDOW;
    command->queue_size -= (size_t)written;
    send_credit(command->stream, STDIN, (uint32_t)written);
  }
  if (command->queue_size > 0 || !command->input_ends || !session_has_reserve()) return;
  if (!command->tty) {
    close_fd(&command->input);
  } else if (write(command->input, &end_of_file_character, 1) == 1) {
    command->input_ends = false;
  }
}

static void take_input(struct command *command, const uint8_t *data, size_t size) {
  if (command->input < 0 || command->input_ends) return;
  if (command->queue == NULL) command->queue = malloc(WINDOW);
  if (command->queue == NULL || size > WINDOW - command->queue_size) {
    close_input(command);
    return;
  }
  const size_t end = (command->queue_start + command->queue_size) % WINDOW;
  const size_t first = size < WINDOW - end ? size : WINDOW - end;
  memcpy(command->queue + end, data, first);
  memcpy(command->queue, data + first, size - first);
  command->queue_size += size;
  write_input(command);
}

static bool may_read(const struct command *command, int index) {
  return command->output[index] >= 0 && command->credit[index] > 0 && session_room() > 0;
}

static void read_output(struct command *command, int index) {
  if (!session_has_reserve()) return;
  if (command->exited && command->left[index] == 0) close_output(command, index);
  if (!may_read(command, index)) return;
  size_t size = session_room();
  if (size > command->credit[index]) size = command->credit[index];
  if (command->exited && size > command->left[index]) size = command->left[index];
  const ssize_t got = read(command->output[index], data_begin(), size);
  if (got < 0 && errno == EINTR) return;
  if (got < 0 && errno == EAGAIN && !command->exited) return;
  if (got <= 0) {
    close_output(command, index);
    return;
  }
  data_commit(command->stream, index == 0 ? STDOUT : STDERR, (size_t)got);
  command->credit[index] -= (uint32_t)got;
  if (!command->exited) return;
  command->left[index] -= (size_t)got;
  if (command->left[index] == 0) close_output(command, index);
}

static void kill_group(const struct command *command, int signal) {
  if (command->exited) return;
  kill(-command->pid, signal);
  if (!command->tty || command->input < 0) return;
  const pid_t foreground = tcgetpgrp(command->input);
  if (foreground > 0 && foreground != command->pid) kill(-foreground, signal);
}

struct pipes {
  int input[2], output[2], error[2];
};

static void close_pipes(struct pipes *pipes) {
  for (int i = 0; i < 2; i++) {
    close_fd(&pipes->input[i]);
    close_fd(&pipes->output[i]);
    close_fd(&pipes->error[i]);
  }
}

static bool open_streams(struct pipes *pipes, struct spawn *spawn, unsigned rows, unsigned columns) {
  if (spawn->tty) {
    pipes->output[0] = open_terminal(&pipes->output[1], rows, columns);
    if (pipes->output[0] < 0) return false;
    pipes->input[1] = fcntl(pipes->output[0], F_DUPFD_CLOEXEC, 3);
    if (pipes->input[1] < 0) return false;
    if (spawn->change_user && fchown(pipes->output[1], spawn->uid, (gid_t)-1) != 0) return false;
    spawn->input = spawn->output = spawn->error = pipes->output[1];
    return true;
  }
  if (pipe2(pipes->input, O_CLOEXEC) != 0 || pipe2(pipes->output, O_CLOEXEC) != 0) return false;
  if (pipe2(pipes->error, O_CLOEXEC) != 0) return false;
  spawn->input = pipes->input[0];
  spawn->output = pipes->output[1];
  spawn->error = pipes->error[1];
  fcntl(pipes->input[1], F_SETFL, O_NONBLOCK);
  fcntl(pipes->output[0], F_SETFL, O_NONBLOCK);
  fcntl(pipes->error[0], F_SETFL, O_NONBLOCK);
  return true;
}

static void add_variable(char **environment, size_t *size, char *variable) {
  const size_t name = strcspn(variable, "=") + 1;
  for (size_t i = 0; i < *size; i++)
    if (strncmp(environment[i], variable, name) == 0) return;
  environment[(*size)++] = variable;
}

// Those that were asked for come before `home`, and that before those of the agent.
static void join_environment(char **environment, size_t asked, char *home) {
  size_t size = asked;
  add_variable(environment, &size, home);
  for (char **each = environ; *each != NULL && size < asked + MAX_ENVIRONMENT; each++)
    add_variable(environment, &size, *each);
}

static void launch(uint32_t stream, struct spawn *spawn, unsigned rows, unsigned columns) {
  struct pipes pipes = {{-1, -1}, {-1, -1}, {-1, -1}};
  struct command *command = calloc(1, sizeof *command);
  const bool ready = command != NULL && open_streams(&pipes, spawn, rows, columns);
  const pid_t pid = ready ? start_process(spawn) : -1;
  if (pid < 0) {
    send_error(stream, errno, spawn->arguments[0]);
    close_pipes(&pipes);
    free(command);
    return;
  }
  *command = (struct command){
    .next = commands,
    .stream = stream,
    .pid = pid,
    .tty = spawn->tty,
    .input = pipes.input[1],
    .output = {pipes.output[0], pipes.error[0]},
    .credit = {WINDOW, WINDOW},
  };
  pipes.input[1] = pipes.output[0] = pipes.error[0] = -1;
  close_pipes(&pipes);
  commands = command;
  count++;
}

void command_start(uint32_t stream, struct reader *payload) {
  const unsigned flags = (unsigned)read_number(payload, 1);
  const unsigned rows = (unsigned)read_number(payload, 2), columns = (unsigned)read_number(payload, 2);
  const size_t argument_count = read_number(payload, 2), variable_count = read_number(payload, 2);
  const char *directory = read_string(payload), *user = read_string(payload);
  // Every string has a byte, so the counts are bounded by the frame.
  if (payload->bad || argument_count == 0 || argument_count + variable_count > payload->left) {
    send_error(stream, EPROTO, "EXEC");
    return;
  }
  char **strings = calloc(argument_count + variable_count + 2 + MAX_ENVIRONMENT, sizeof *strings);
  if (strings == NULL) {
    send_error(stream, ENOMEM, "EXEC");
    return;
  }
  char **environment = strings + argument_count + 1;
  for (size_t i = 0; i < argument_count; i++) strings[i] = (char *)read_string(payload);
  for (size_t i = 0; i < variable_count; i++) environment[i] = (char *)read_string(payload);
  char home[MAX_PATH + 5] = "HOME=";
  char *const directory_of_user = home + 5;
  snprintf(directory_of_user, MAX_PATH, "%s", getenv("HOME") != NULL ? getenv("HOME") : "/");
  struct spawn spawn = {.arguments = strings, .environment = environment, .tty = (flags & FLAG_TTY) != 0};
  if (payload->bad) {
    send_error(stream, EPROTO, "EXEC");
  } else if (*user != 0 && !find_user(user, &spawn, directory_of_user)) {
    send_error(stream, errno, user);
  } else {
    if ((flags & FLAG_OWN_ENVIRONMENT) == 0) join_environment(environment, variable_count, home);
    spawn.directory = *directory != 0 ? directory : directory_of_user;
    spawn.any_directory = *directory == 0;
    launch(stream, &spawn, rows, columns);
  }
  free(strings);
}

bool command_frame(uint32_t stream, enum frame_type type, struct reader *payload) {
  struct command *command = find(stream);
  if (command == NULL) return false;
  if (type == SIGNAL) {
    kill_group(command, (int)read_number(payload, 1));
    return true;
  }
  if (type == ABORT) {
    kill_group(command, SIGKILL);
    close_output(command, 0);
    close_output(command, 1);
  } else if (type == RESIZE) {
    struct winsize size = {0};
    size.ws_row = (unsigned short)read_number(payload, 2);
    size.ws_col = (unsigned short)read_number(payload, 2);
    if (command->tty && command->output[0] >= 0 && !payload->bad) ioctl(command->output[0], TIOCSWINSZ, &size);
  } else if (type == DATA || type == END_OF_FILE || type == CREDIT) {
    const uint64_t channel = read_number(payload, 1);
    if (payload->bad || channel > STDERR) return true;
    if (type == CREDIT && channel != STDIN) {
      const uint32_t more = (uint32_t)read_number(payload, 4);
      if (more <= WINDOW - command->credit[channel - 1]) command->credit[channel - 1] += more;
    } else if (type == DATA && channel == STDIN) {
      take_input(command, payload->at, payload->left);
    } else if (type == END_OF_FILE && channel == STDIN && command->input >= 0) {
      command->input_ends = true;
      write_input(command);
    } else if (type == END_OF_FILE && channel != STDIN) {
      close_output(command, (int)channel - 1);
    }
  }
  if (is_over(command)) free_command(command);
  return true;
}

size_t command_count(void) {
  return count;
}

size_t command_poll(struct pollfd *polls) {
  struct pollfd *next = polls;
  for (struct command *command = commands; command != NULL; command = command->next) {
    const bool more_input = command->queue_size > 0 || command->input_ends;
    const bool watch = command->input >= 0 && session_has_reserve() && (more_input || !command->tty);
    // Without events, a pipe still tells when its reader is gone.
    *next++ = (struct pollfd){watch ? command->input : -1, more_input ? POLLOUT : 0, 0};
    for (int i = 0; i < 2; i++) *next++ = (struct pollfd){may_read(command, i) ? command->output[i] : -1, POLLIN, 0};
  }
  return (size_t)(next - polls);
}

static void work(struct command *command, const struct pollfd *polls) {
  if (polls[0].revents & POLLOUT) write_input(command);
  else if (polls[0].revents != 0 && session_has_reserve()) close_input(command);
  for (int i = 0; i < 2; i++)
    if (polls[1 + i].revents != 0 || command->exited) read_output(command, i);
  if (is_over(command)) free_command(command);
}

void command_work(const struct pollfd *polls) {
  static struct command *all[MAX_STREAMS];
  size_t size = 0;
  for (struct command *command = commands; command != NULL; command = command->next) all[size++] = command;
  // Where the output is full, each comes first in turn.
  if (size > 0) turn = (turn + 1) % size;
  for (size_t i = 0; i < size; i++) {
    const size_t index = (turn + i) % size;
    work(all[index], polls + POLLS * index);
  }
}

bool command_pending(void) {
  for (struct command *command = commands; command != NULL; command = command->next)
    if (command->exited && (may_read(command, 0) || may_read(command, 1))) return true;
  return false;
}

static void ended(struct command *command, int status) {
  const bool killed = WIFSIGNALED(status);
  const uint8_t payload[2] = {killed, (uint8_t)(killed ? WTERMSIG(status) : WEXITSTATUS(status))};
  close_fd(&command->input);
  command->exited = true;
  for (int i = 0; i < 2; i++) {
    // Later output is that of processes which the command left behind.
    int size = 0;
    if (command->tty) size = MAX_DATA;
    else if (command->output[i] >= 0) ioctl(command->output[i], FIONREAD, &size);
    command->left[i] = (size_t)size;
  }
  send_frame(EXIT, command->stream, payload, sizeof payload);
}

int command_reap(int watched) {
  int result = -1;
  while (session_has_reserve()) {
    int status;
    const pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) break;
    if (pid == watched) result = status;
    struct command *command = commands;
    while (command != NULL && (command->pid != pid || command->exited)) command = command->next;
    if (command == NULL) continue;
    ended(command, status);
    read_output(command, 0);
    read_output(command, 1);
    if (is_over(command)) free_command(command);
  }
  return result;
}

void command_reset(void) {
  while (commands != NULL) {
    kill_group(commands, SIGHUP);
    kill_group(commands, SIGCONT);
    free_command(commands);
  }
}
