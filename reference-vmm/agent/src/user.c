// Users and groups by the files, since a static program has no name service.
#include "agent.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Splits a line of FIELDS fields between colons; false when it has fewer.
static bool split(char *line, char **fields, size_t count) {
  line[strcspn(line, "\n")] = 0;
  for (size_t i = 0; i < count; i++) {
    fields[i] = line;
    if (i + 1 == count) return true;
    char *end = strchr(line, ':');
    if (end == NULL) return false;
    *end = 0;
    line = end + 1;
  }
  return true;
}

static bool parse_id(const char *text, uint32_t *id, const char **rest) {
  if (*text < '0' || *text > '9') return false;
  char *end;
  errno = 0;
  const unsigned long long value = strtoull(text, &end, 10);
  if (errno != 0 || value > 0xfffffffe) return false;
  *id = (uint32_t)value;
  *rest = end;
  return true;
}

// Looks for a user by name, or where there is none by number.
static bool look_up(const char *name, uint32_t id, struct spawn *spawn, char *user, char *home) {
  FILE *file = fopen("/etc/passwd", "re");
  if (file == NULL) return false;
  char line[MAX_PATH];
  bool found = false;
  while (!found && fgets(line, sizeof line, file) != NULL) {
    char *fields[7];
    const char *rest;
    uint32_t uid, gid;
    if (!split(line, fields, 7) || !parse_id(fields[2], &uid, &rest) || !parse_id(fields[3], &gid, &rest)) continue;
    if (name != NULL ? strcmp(fields[0], name) != 0 : uid != id) continue;
    found = true;
    spawn->uid = uid;
    spawn->gid = gid;
    snprintf(user, MAX_PATH, "%s", fields[0]);
    if (fields[5][0] == '/') snprintf(home, MAX_PATH, "%s", fields[5]);
  }
  fclose(file);
  return found;
}

static bool is_member(char *members, const char *user) {
  for (char *rest, *each = strtok_r(members, ",", &rest); each != NULL; each = strtok_r(NULL, ",", &rest))
    if (strcmp(each, user) == 0) return true;
  return false;
}

static void add_groups(struct spawn *spawn, const char *user) {
  FILE *file = fopen("/etc/group", "re");
  if (file == NULL) return;
  char line[MAX_PATH];
  const size_t most = sizeof spawn->groups / sizeof *spawn->groups;
  while (spawn->group_count < most && fgets(line, sizeof line, file) != NULL) {
    char *fields[4];
    const char *rest;
    uint32_t gid;
    if (!split(line, fields, 4) || !parse_id(fields[2], &gid, &rest) || gid == spawn->gid) continue;
    if (is_member(fields[3], user)) spawn->groups[spawn->group_count++] = gid;
  }
  fclose(file);
}

bool find_user(const char *user, struct spawn *spawn, char *home) {
  char name[MAX_PATH] = "";
  const char *rest = "";
  uint32_t id;
  strcpy(home, "/");
  if (parse_id(user, &id, &rest)) {
    spawn->gid = id;
    look_up(NULL, id, spawn, name, home);
    spawn->uid = id;
    if (*rest == ':' && !parse_id(rest + 1, &spawn->gid, &rest)) rest = "?";
    if (*rest != 0) {
      errno = EINVAL;
      return false;
    }
  } else if (!look_up(user, 0, spawn, name, home)) {
    errno = ENOENT;
    return false;
  }
  spawn->change_user = true;
  spawn->groups[0] = spawn->gid;
  spawn->group_count = 1;
  if (name[0] != 0) add_groups(spawn, name);
  return true;
}
