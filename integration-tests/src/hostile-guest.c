/*
 * A driver that breaks every rule it can, from user space: registers in any order, rings full of garbage, resets
 * with requests in flight. It takes a virtio device whose own driver is unbound.
 *
 *   hostile pci /sys/bus/pci/devices/ADDRESS SEED ROUNDS [balloon]
 *   hostile mmio PHYSICAL_ADDRESS SEED ROUNDS [balloon]
 *
 * Buffers are this program's own pages, or lie outside of memory: what a device may be told to overwrite is nothing
 * that the guest's kernel needs. It prints how often the device asked for a reset.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGES = 32, PAGE = 4096, QUEUE_SIZE = 16, MAX_QUEUES = 8 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 64 };
enum { NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 0x80 };

struct descriptor {
  uint64_t address;
  uint32_t length;
  union {
    struct {
      uint16_t flags, next;
    };
    struct {
      uint16_t id, packed_flags;
    };
  };
};

static bool pci, packed, balloon;
static volatile uint8_t *registers, *common, *notify_base, *device_config;
static uint32_t notify_multiplier, notify_size;
static int config_space = -1;
static uint32_t first_bar;
static int msix;
static unsigned queues;
static uint8_t *memory;
static uint64_t physical[PAGES];
static unsigned long needs_reset;

static uint64_t state;

static uint32_t random32(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 16);
}

static uint32_t below(uint32_t limit) { return random32() % limit; }

static void fail(const char *what) {
  perror(what);
  exit(1);
}

/* Accesses that the compiler neither merges nor splits, in ways that the guest's hypervisor sees as one. */
static void store(volatile uint8_t *at, unsigned length, uint32_t value) {
  if (length == 1) *at = value;
  else if (length == 2) *(volatile uint16_t *)at = value;
  else *(volatile uint32_t *)at = value;
}

static uint32_t load(volatile uint8_t *at, unsigned length) {
  if (length == 1) return *at;
  if (length == 2) return *(volatile uint16_t *)at;
  return *(volatile uint32_t *)at;
}

static uint32_t read_config_space(int offset, int length) {
  uint32_t value = 0;
  if (pread(config_space, &value, length, offset) != length) fail("read of configuration space");
  return value;
}

static void write_config_space(int offset, int length, uint32_t value) {
  if (pwrite(config_space, &value, length, offset) != length) fail("write of configuration space");
}

static void enable_function(void) {
  write_config_space(0x10, 4, first_bar);
  /* Memory, bus master, no interrupt line. */
  write_config_space(0x04, 2, 0x0406);
}

static void open_pci(const char *directory) {
  char path[256];
  snprintf(path, sizeof path, "%s/config", directory);
  config_space = open(path, O_RDWR);
  if (config_space < 0) fail(path);
  first_bar = read_config_space(0x10, 4);
  snprintf(path, sizeof path, "%s/resource0", directory);
  int bar = open(path, O_RDWR | O_SYNC);
  struct stat stat;
  if (bar < 0 || fstat(bar, &stat) != 0) fail(path);
  registers = mmap(NULL, stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, bar, 0);
  if (registers == MAP_FAILED) fail(path);
  enable_function();
  for (int at = read_config_space(0x34, 1); at != 0; at = read_config_space(at + 1, 1)) {
    int id = read_config_space(at, 1);
    if (id == 0x11) msix = at;
    if (id != 0x09) continue;
    int type = read_config_space(at + 3, 1);
    volatile uint8_t *place = registers + read_config_space(at + 8, 4);
    if (type == 1) common = place;
    if (type == 4) device_config = place;
    if (type == 2) {
      notify_base = place;
      notify_size = read_config_space(at + 12, 4);
      notify_multiplier = read_config_space(at + 16, 4);
    }
  }
  if (common == NULL || notify_base == NULL) fail("capabilities");
  queues = load(common + 0x12, 2);
}

static void open_mmio(uint64_t address) {
  int fd = open("/dev/mem", O_RDWR | O_SYNC);
  if (fd < 0) fail("/dev/mem");
  registers = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, address);
  if (registers == MAP_FAILED) fail("mmap of /dev/mem");
  if (load(registers, 4) != 0x74726976) fail("no virtio device");
  device_config = registers + 0x100;
  for (queues = 0; queues < 64; queues++) {
    store(registers + 0x30, 4, queues);
    if (load(registers + 0x34, 4) == 0) break;
  }
}

static void take_memory(void) {
  memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) fail("memory");
  memset(memory, 0, PAGES * PAGE);
  int fd = open("/proc/self/pagemap", O_RDONLY);
  if (fd < 0) fail("pagemap");
  for (int i = 0; i < PAGES; i++) {
    uint64_t entry = 0;
    off_t offset = ((uintptr_t)memory / PAGE + i) * sizeof entry;
    if (pread(fd, &entry, sizeof entry, offset) != sizeof entry || (entry >> 63) == 0) fail("pagemap");
    physical[i] = (entry & ((1ull << 55) - 1)) * PAGE;
  }
  close(fd);
}

static uint32_t get_status(void) { return pci ? load(common + 0x14, 1) : load(registers + 0x70, 4); }

static void set_status(uint32_t status) {
  if (pci) store(common + 0x14, 1, status);
  else store(registers + 0x70, 4, status);
}

static uint32_t get_features(uint32_t select) {
  if (pci) {
    store(common, 4, select);
    return load(common + 4, 4);
  }
  store(registers + 0x14, 4, select);
  return load(registers + 0x10, 4);
}

static void set_features(uint32_t select, uint32_t value) {
  store(pci ? common + 8 : registers + 0x24, 4, select);
  store(pci ? common + 12 : registers + 0x20, 4, value);
}

static void select_queue(unsigned queue) {
  if (pci) store(common + 0x16, 2, queue);
  else store(registers + 0x30, 4, queue);
}

static void set_address(unsigned at, uint64_t address) {
  volatile uint8_t *place = pci ? common + 0x20 + 8 * at : registers + 0x80 + 0x10 * at;
  store(place, 4, (uint32_t)address);
  store(place + 4, 4, address >> 32);
}

static void enable_queue(unsigned queue) {
  select_queue(queue);
  if (pci) store(common + 0x18, 2, QUEUE_SIZE);
  else store(registers + 0x38, 4, QUEUE_SIZE);
  uint64_t ring = physical[queue % MAX_QUEUES];
  set_address(0, ring);
  set_address(1, ring + 512);
  set_address(2, ring + (packed ? 516 : 1024));
  if (pci) store(common + 0x1c, 2, 1);
  else store(registers + 0x44, 4, 1);
}

/*
 * With sizes and addresses that are refused, or safe: a device reads descriptors and writes used elements where it is
 * told, and memory behind this program's pages is the kernel's.
 */
static void enable_odd_queue(unsigned queue) {
  static const uint16_t SIZES[] = {0, 1, 2, 3, 7, 8, QUEUE_SIZE, 0x8000, 0x8001, 0xffff};
  uint64_t ring = physical[queue % MAX_QUEUES], outside = below(2) ? 1ull << 40 : 0xffffffffffffffc0ull;
  uint16_t size = SIZES[below(sizeof SIZES / sizeof *SIZES)];
  select_queue(queue);
  if (pci) store(common + 0x18, 2, size);
  else store(registers + 0x38, 4, size);
  set_address(0, below(4) ? ring : below(2) ? ring + 8 : outside);
  set_address(1, below(4) ? ring + 512 + 4 * below(64) : below(2) ? ring + 513 : outside);
  set_address(2, below(4) ? ring + 1024 + 4 * below(64) : below(2) ? ring + 1026 : outside);
  if (pci) store(common + 0x1c, 2, 1);
  else store(registers + 0x44, 4, 1);
}

static void notify(unsigned queue) {
  if (!pci) store(registers + 0x50, 4, queue);
  else if (queue * notify_multiplier + 2 <= notify_size) store(notify_base + queue * notify_multiplier, 2, queue);
}

static void reset_queue(unsigned queue) {
  select_queue(queue);
  if (pci) store(common + 0x3a, 2, 1);
  else store(registers + 0xc0, 4, 1);
}

static void reset(void) {
  set_status(0);
  for (int i = 0; get_status() != 0; i++) {
    if (i == 1000) fail("the device stays out of reset");
    usleep(1000);
  }
  memset(memory, 0, MAX_QUEUES * PAGE);
}

/* VIRTIO 1.3 §3.1.1, with every feature that is offered. */
static bool start(void) {
  reset();
  set_status(ACKNOWLEDGE);
  set_status(ACKNOWLEDGE | DRIVER);
  uint32_t high = get_features(1);
  packed = (high & 4) != 0;
  set_features(0, get_features(0));
  set_features(1, high);
  set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
  for (unsigned i = 0; i < queues && i < MAX_QUEUES; i++) enable_queue(i);
  set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
  return (get_status() & DRIVER_OK) != 0;
}

static struct descriptor *ring_of(unsigned queue) { return (struct descriptor *)(memory + queue * PAGE); }

static void publish(unsigned queue, uint16_t index) {
  __sync_synchronize();
  if (!packed) *(volatile uint16_t *)(memory + queue * PAGE + 514) = index;
  __sync_synchronize();
  notify(queue);
  if (get_status() & NEEDS_RESET) needs_reset++;
}

/* Requests of all kinds of devices have small numbers in their first words. Pages named to a balloon are ours. */
static void fill_buffers(void) {
  for (int page = MAX_QUEUES; page < PAGES; page++) {
    uint32_t *words = (uint32_t *)(memory + page * PAGE);
    for (int i = 0; i < PAGE / 4; i++) {
      if (balloon) words[i] = below(2) ? physical[MAX_QUEUES + below(PAGES - MAX_QUEUES)] / PAGE : random32() | 0x80000000;
      else words[i] = below(3) ? below(48) : random32();
    }
  }
}

static struct descriptor any_descriptor(void) {
  static const uint64_t OUTSIDE[] = {
      0x70000000ull, 1ull << 40, (1ull << 53) + 8, 1ull << 63, 0xffffffffffffff00ull, 0xffffffffffffffffull,
  };
  static const uint32_t LENGTHS[] = {0, 1, 7, 8, 12, 16, 17, 40, 44, 80, 104, 512, 513, 1024};
  struct descriptor descriptor = {0};
  if (below(8) == 0) {
    descriptor.address = OUTSIDE[below(sizeof OUTSIDE / sizeof *OUTSIDE)];
    descriptor.length = random32();
  } else {
    uint32_t offset = below(4) ? 0 : below(PAGE - 1024);
    descriptor.address = physical[MAX_QUEUES + below(PAGES - MAX_QUEUES)] + offset;
    descriptor.length = LENGTHS[below(sizeof LENGTHS / sizeof *LENGTHS)];
    if (below(16) == 0) descriptor.length = 0x80000000 | random32();
  }
  uint16_t flags = below(10) ? below(4) : random32();
  /* A table of descriptors in our own buffers could name any address. */
  if (below(16) == 0 && descriptor.length < 16) flags |= INDIRECT;
  else flags &= ~INDIRECT;
  if (packed) {
    descriptor.id = below(8) ? below(QUEUE_SIZE) : random32();
    descriptor.packed_flags = flags | (below(8) ? AVAIL : 0);
  } else {
    descriptor.flags = flags;
    descriptor.next = below(8) ? below(QUEUE_SIZE) : random32();
  }
  return descriptor;
}

static void garbage_rings(void) {
  if (!start()) fail("DRIVER_OK");
  fill_buffers();
  for (int n = 0; n < 4; n++) {
    unsigned queue = below(queues < MAX_QUEUES ? queues : MAX_QUEUES);
    for (int i = 0; i < QUEUE_SIZE; i++) ring_of(queue)[i] = any_descriptor();
    uint16_t *available = (uint16_t *)(memory + queue * PAGE + 512);
    if (packed) *(volatile uint32_t *)available = random32();
    else {
      for (int i = 0; i < QUEUE_SIZE; i++) available[2 + i] = below(8) ? below(QUEUE_SIZE) : random32();
    }
    publish(queue, below(4) ? 1 + below(QUEUE_SIZE) : random32());
  }
}

/* One chain that breaks one rule, in each queue. */
static void broken_chain(unsigned which) {
  for (unsigned queue = 0; queue < queues && queue < MAX_QUEUES; queue++) {
    if (!start()) fail("DRIVER_OK");
    fill_buffers();
    struct descriptor *ring = ring_of(queue);
    uint64_t buffer = physical[MAX_QUEUES], table = physical[MAX_QUEUES + 1];
    struct descriptor *entries = (struct descriptor *)(memory + (MAX_QUEUES + 1) * PAGE);
    uint16_t first = 0, second = WRITE, next = 1, head = 0, index = 1;
    memset(entries, 0, PAGE);
    ring[0].address = ring[1].address = buffer;
    ring[0].length = ring[1].length = 64;
    first = NEXT;
    switch (which) {
      case 0: next = 0; break;
      case 1: next = 0xffff; break;
      case 2: ring[1].address = 0xfffffffffffffff8ull; break;
      case 3: ring[0].length = ring[1].length = 0xffffffff; break;
      case 4: first = NEXT | WRITE, second = 0; break;
      case 5: ring[0].length = ring[1].length = 0; break;
      case 6: first = INDIRECT, ring[0].address = table, ring[0].length = 0; break;
      case 7: first = INDIRECT, ring[0].address = table, ring[0].length = 17; break;
      case 8: first = INDIRECT, ring[0].address = 1ull << 40, ring[0].length = 32; break;
      case 9: first = INDIRECT | NEXT, ring[0].address = table, ring[0].length = 16; break;
      case 10:
        first = INDIRECT, ring[0].address = table, ring[0].length = 32;
        /* A packed ring's tables have no flags: there this is a request, of safe words. */
        entries[0] = (struct descriptor){.address = packed ? buffer : table, .length = 32, .flags = INDIRECT};
        break;
      case 11:
        first = INDIRECT, ring[0].address = table, ring[0].length = 16;
        entries[0] = (struct descriptor){.address = buffer, .length = 8, .flags = NEXT};
        break;
      case 12: head = QUEUE_SIZE; break;
      case 13: index = QUEUE_SIZE + 1; break;
      case 14: second = WRITE | NEXT; break;
      default: first = WRITE; break;
    }
    if (packed) {
      ring[0].id = ring[1].id = head;
      ring[1].packed_flags = second | AVAIL;
      ring[0].packed_flags = first | AVAIL;
    } else {
      ring[0].flags = first, ring[0].next = next;
      ring[1].flags = second, ring[1].next = 0;
      ((uint16_t *)(memory + queue * PAGE + 512))[2] = head;
    }
    publish(queue, index);
  }
}

static void any_registers(void) {
  for (int i = 0; i < 60; i++) {
    unsigned length = 1u << below(3), queue = below(8) ? below(queues + 1) : random32() & 0xffff;
    switch (below(8)) {
      case 0: set_status(below(3) ? (0xfu >> below(4)) : random32() & 0xff); break;
      case 1: set_features(below(3), below(2) ? get_features(below(2)) : random32()); break;
      case 2: select_queue(queue); break;
      case 3: notify(queue); break;
      case 4: reset_queue(queue); break;
      case 5: enable_odd_queue(below(queues)); break;
      case 6: {
        if (!pci) length = 4;
        uint32_t offset = below(pci ? 0x40 : 0x100) & ~(length - 1);
        load((pci ? common : registers) + offset, length);
        /* Size, enable and addresses of queues are written by enable_odd_queue() only. */
        bool queue_setup = pci ? offset + length > 0x18 && offset < 0x38
                               : offset == 0x38 || offset == 0x44 || (offset >= 0x80 && offset < 0xb0);
        if (!queue_setup) store((pci ? common : registers) + offset, length, below(2) ? below(32) : random32());
        break;
      }
      default:
        if (device_config != NULL) {
          uint32_t offset = below(2) ? below(64) : below(0xf00);
          offset &= ~(length - 1);
          load(device_config + offset, length);
          store(device_config + offset, length, random32());
        }
    }
  }
}

static void any_config_space(void) {
  for (int i = 0; i < 40; i++) {
    int length = 1 << below(3);
    int offset = below(2) ? (int)below(0x40) : (int)below(0x100);
    offset &= ~(length - 1);
    bool enables_msix = offset < msix + 4 && offset + length > msix + 2;
    if (below(3) == 0) read_config_space(offset, length);
    else if (!enables_msix) write_config_space(offset, length, below(2) ? 0xffffffff : random32());
  }
  enable_function();
}

static void storm(void) {
  fill_buffers();
  for (int i = 0; i < 40; i++) {
    if (!start()) fail("DRIVER_OK");
    for (unsigned queue = 0; queue < queues && queue < MAX_QUEUES; queue++) {
      for (int n = 0; n < QUEUE_SIZE; n++) {
        ring_of(queue)[n] = (struct descriptor){.address = physical[MAX_QUEUES + n], .length = 512};
        if (packed) ring_of(queue)[n].id = n, ring_of(queue)[n].packed_flags = AVAIL | (queue & 1 ? 0 : WRITE);
        else ring_of(queue)[n].flags = queue & 1 ? 0 : WRITE, ((uint16_t *)(memory + queue * PAGE + 512))[2 + n] = n;
      }
      publish(queue, QUEUE_SIZE);
    }
    if (below(2)) set_status(0);
  }
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  pci = strcmp(argv[1], "pci") == 0;
  state = strtoull(argv[3], NULL, 0) * 0x9e3779b97f4a7c15ull + 1;
  int rounds = atoi(argv[4]);
  balloon = argc > 5;
  take_memory();
  if (pci) open_pci(argv[2]);
  else open_mmio(strtoull(argv[2], NULL, 0));
  reset();
  for (unsigned which = 0; which < 16; which++) broken_chain(which);
  for (int round = 0; round < rounds; round++) {
    any_registers();
    garbage_rings();
    if (pci) any_config_space();
    any_registers();
    reset();
  }
  storm();
  reset();
  printf("%lu\n", needs_reset);
  return 0;
}
