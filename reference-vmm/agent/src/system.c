// Requests about the guest as a whole, and the duties of a first process.
#include "agent.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <net/route.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ENTROPY = 4096 };

bool direct_shutdown;
int shutdown_request;

int set_clock(struct reader *payload) {
  struct timespec time;
  time.tv_sec = (time_t)read_number(payload, 8);
  time.tv_nsec = (long)read_number(payload, 4);
  if (payload->bad) return EPROTO;
  return clock_settime(CLOCK_REALTIME, &time) == 0 ? 0 : errno;
}

int add_entropy(struct reader *payload) {
  if (payload->left == 0 || payload->left > MAX_ENTROPY) return EPROTO;
  struct {
    struct rand_pool_info info;
    uint8_t bytes[MAX_ENTROPY];
  } pool;
  pool.info.entropy_count = (int)payload->left * 8;
  pool.info.buf_size = (int)payload->left;
  memcpy(pool.bytes, payload->at, payload->left);
  const int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  int error = ioctl(fd, RNDADDENTROPY, &pool) == 0 ? 0 : errno;
  // A generator that is not ready yet takes what it needs by itself.
  if (error == 0 && ioctl(fd, RNDRESEEDCRNG) != 0 && errno != ENODATA) error = errno;
  close(fd);
  return error;
}

static struct sockaddr_in ipv4(in_addr_t address) {
  return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {address}};
}

static int configure(int fd, const char *interface, in_addr_t address, unsigned prefix, in_addr_t gateway) {
  struct ifreq request = {0};
  strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
  struct sockaddr_in value = ipv4(address);
  memcpy(&request.ifr_addr, &value, sizeof value);
  if (ioctl(fd, SIOCSIFADDR, &request) != 0) return errno;
  value = ipv4(htonl(prefix == 0 ? 0 : ~0u << (32 - prefix)));
  memcpy(&request.ifr_netmask, &value, sizeof value);
  if (ioctl(fd, SIOCSIFNETMASK, &request) != 0 || ioctl(fd, SIOCGIFFLAGS, &request) != 0) return errno;
  request.ifr_flags |= IFF_UP;
  if (ioctl(fd, SIOCSIFFLAGS, &request) != 0) return errno;
  if (gateway == 0) return 0;
  struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY, .rt_dev = request.ifr_name};
  const struct sockaddr_in any = ipv4(0);
  value = ipv4(gateway);
  memcpy(&route.rt_gateway, &value, sizeof value);
  memcpy(&route.rt_dst, &any, sizeof any);
  memcpy(&route.rt_genmask, &any, sizeof any);
  return ioctl(fd, SIOCADDRT, &route) == 0 || errno == EEXIST ? 0 : errno;
}

int set_network(struct reader *payload) {
  const in_addr_t address = (in_addr_t)read_number(payload, 4);
  const unsigned prefix = (unsigned)read_number(payload, 1);
  const in_addr_t gateway = (in_addr_t)read_number(payload, 4);
  const char *interface = read_string(payload);
  if (payload->bad || prefix > 32 || strlen(interface) >= IFNAMSIZ) return EPROTO;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int error = configure(fd, interface, address, prefix, gateway);
  close(fd);
  return error;
}

void shut_down(bool again, bool direct) {
  struct stat there;
  if (!direct && getpid() != 1 && stat("/run/systemd/system", &there) == 0) {
    kill(1, SIGRTMIN + (again ? 5 : 4));
    return;
  }
  sync();
  reboot(again ? RB_AUTOBOOT : RB_POWER_OFF);
}

static void mount_at(const char *type, const char *directory) {
  mkdir(directory, 0755);
  // What is mounted already says EBUSY, and a kernel without one of them does without.
  mount(type, directory, type, 0, NULL);
}

void become_init(void) {
  mount_at("devtmpfs", "/dev");
  mount_at("proc", "/proc");
  mount_at("sysfs", "/sys");
  mount_at("tmpfs", "/run");
  mount_at("tmpfs", "/tmp");
  chmod("/tmp", 01777);
  mount_at("devpts", "/dev/pts");
  mount_at("tmpfs", "/dev/shm");
  chmod("/dev/shm", 01777);
  setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 0);
  setenv("HOME", "/root", 0);
}
