// Waiting for the power button, for guests in which no other program does: a key of an input device, or a pin of a GPIO
// controller that the device tree has as a key and that the kernel has no driver for.
#include "agent.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <linux/input.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_BUTTONS = 16 };

// Linux Documentation/devicetree/bindings/input/gpio-keys.yaml: controller, pin, flags.
static const char key_pin[] = "/sys/firmware/devicetree/base/gpio-keys/power-button/gpios";
static const char controller[] = "pl061";

static bool has_power_key(int fd) {
  uint8_t keys[KEY_MAX / 8 + 1] = {0};
  if (ioctl(fd, EVIOCGBIT(EV_KEY, sizeof keys), keys) < 0) return false;
  return (keys[KEY_POWER / 8] >> KEY_POWER % 8 & 1) != 0;
}

// A descriptor that has something to read at each edge of the pin.
static int pin_events(int chip) {
  uint32_t cells[3];
  const int fd = open(key_pin, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  const ssize_t size = read(fd, cells, sizeof cells);
  close(fd);
  struct gpiochip_info info;
  if (size != sizeof cells || ioctl(chip, GPIO_GET_CHIPINFO_IOCTL, &info) < 0) return -1;
  info.label[sizeof info.label - 1] = 0;
  if (strstr(info.label, controller) == NULL) return -1;
  struct gpio_v2_line_request request = {
    .offsets = {ntohl(cells[1])}, .num_lines = 1, .consumer = "power button",
    .config = {.flags = GPIO_V2_LINE_FLAG_INPUT | GPIO_V2_LINE_FLAG_EDGE_RISING}};
  return ioctl(chip, GPIO_V2_GET_LINE_IOCTL, &request) < 0 ? -1 : request.fd;
}

static int open_button(const char *directory, const char *name, const char *prefix) {
  if (strncmp(name, prefix, strlen(prefix)) != 0) return -1;
  char path[MAX_PATH];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -1;
  if (strcmp(prefix, "event") == 0 && has_power_key(fd)) return fd;
  const int events = strcmp(prefix, "gpiochip") == 0 ? pin_events(fd) : -1;
  close(fd);
  return events;
}

static size_t find_buttons(const char *directory, const char *prefix, struct pollfd *found, size_t room) {
  DIR *entries = opendir(directory);
  if (entries == NULL) return 0;
  size_t count = 0;
  for (const struct dirent *entry; count < room && (entry = readdir(entries)) != NULL;) {
    const int fd = open_button(directory, entry->d_name, prefix);
    if (fd >= 0) found[count++] = (struct pollfd){fd, POLLIN, 0};
  }
  closedir(entries);
  return count;
}

static bool is_press(int fd) {
  struct input_event event;
  if (read(fd, &event, sizeof event) != sizeof event) return false;
  return event.type == EV_KEY && event.code == KEY_POWER && event.value == 1;
}

int wait_for_power_button(void) {
  struct pollfd buttons[MAX_BUTTONS];
  const size_t pins = find_buttons("/dev", "gpiochip", buttons, MAX_BUTTONS);
  const size_t count = pins + find_buttons("/dev/input", "event", buttons + pins, MAX_BUTTONS - pins);
  if (count == 0) return 1;
  for (;;) {
    if (poll(buttons, count, -1) < 0) continue;
    for (size_t i = 0; i < count; i++) {
      if (buttons[i].revents & POLLIN && (i < pins || is_press(buttons[i].fd))) return 0;
      // A device that is gone has nothing to say.
      if (buttons[i].revents & (POLLERR | POLLHUP | POLLNVAL)) buttons[i].fd = -1;
    }
  }
}
