/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Runs the suite. As process 1 of the patched kernel it first mounts what the tests
 * need, does what the kernel's command line says (syslet.do=test, bench, fuzz or
 * run:SCRIPT) and switches the machine off; elsewhere it takes the same words as
 * arguments. Scripts are the host's: HOST_FOLDERS names the folders that they see of it.
 */
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "suite.h"

enum { TEST_SECONDS = 60 };

static int
run_one(void *context)
{
    const struct test *test = context;

    /* A test that hangs has failed: the default action ends it. */
    alarm(TEST_SECONDS);
    test->run();
    return 0;
}

int
run_tests(const char *only)
{
    const struct test *tables[] = {basic_tests, async_tests, attempt_tests,
                                   signal_tests, guard_tests};
    int passed = 0, failed = 0, result;

    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
        for (const struct test *test = tables[i]; test->name; test++) {
            if (only && strcmp(only, test->name))
                continue;
            result = reap(child(run_one, (void *)test));
            printf("%s %s", result ? "FAILED" : "ok", test->name);
            printf(result > 128 ? " by signal %d\n" : "\n", result - 128);
            fflush(stdout);
            result ? failed++ : passed++;
        }
    }
    printf("suite: %d passed, %d failed\n", passed, failed);
    return failed || !passed;
}

static unsigned long
number(const char *word, unsigned long otherwise)
{
    return word ? strtoul(word, NULL, 0) : otherwise;
}

static int
be_script(void *path)
{
    char *const words[] = {"sh", path, NULL};

    execv("/bin/sh", words);
    printf("no shell: %s\n", strerror(errno));
    return 2;
}

static int
obey(char *const *words)
{
    const char *what = words[0] ? words[0] : "test";

    if (!strcmp(what, "bench"))
        return bench();
    if (!strcmp(what, "fuzz"))
        return fuzz(number(words[1], 100000), number(words[1] ? words[2] : NULL, 1),
                    number(words[1] && words[2] ? words[3] : NULL, 0));
    if (!strcmp(what, "test"))
        return run_tests(words[1]);
    if (!strcmp(what, "run") && words[1])
        return reap(child(be_script, words[1]));
    printf("unknown: %s\n", what);
    return 2;
}

static void
mount_one(const char *type, const char *where)
{
    mkdir(where, 0755);
    if (mount(type, where, type, 0, NULL))
        printf("no %s at %s: %s\n", type, where, strerror(errno));
}

/* A folder of the host at its own place, to be read only. */
static void
mount_host(char *where)
{
    for (char *at = where + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        mkdir(where, 0755);
        *at = '/';
    }
    mkdir(where, 0755);
    if (mount("none", where, "hostfs", MS_RDONLY, where))
        printf("no %s of the host: %s\n", where, strerror(errno));
}

/* Unknown words of the kernel's command line are the environment of process 1. */
static void
mount_hosts(void)
{
    const char *merged[] = {"bin", "lib", "lib64", "sbin"};
    char *folders = getenv("HOST_FOLDERS"), *save = NULL, target[16];

    for (int i = 0; folders && i < 4; i++) {
        snprintf(target, sizeof(target), "usr/%s", merged[i]);
        CHECK(!symlink(target, merged[i]));
    }
    folders = folders ? strtok_r(folders, ":", &save) : NULL;
    for (; folders; folders = strtok_r(NULL, ":", &save))
        mount_host(folders);
}

/* syslet.do=fuzz:1000000:7 becomes three words. */
static char *
command_word(char *line)
{
    char *found = strstr(line, "syslet.do=");

    if (!found)
        return NULL;
    found += strlen("syslet.do=");
    found[strcspn(found, " \n")] = 0;
    return found;
}

/* A machine for tests, without a source of entropy: whoever asks for random bytes would
 * wait for ever. Nothing here is a secret. */
static void
end_wait_for_entropy(void)
{
    struct {
        int bits, size;
        uint64_t bytes[8];
    } some = {.bits = 512, .size = sizeof(some.bytes)};
    int fd = open("/dev/random", O_WRONLY);

    for (int i = 0; i < 8; i++)
        some.bytes[i] = now_ns() * 0x9e3779b97f4a7c15u;
    if (ioctl(fd, RNDADDENTROPY, &some))
        printf("no entropy: %s\n", strerror(errno));
    close(fd);
}

static void
loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    if (ioctl(fd, SIOCSIFFLAGS, &request))
        printf("no loopback: %s\n", strerror(errno));
    close(fd);
}

static void
be_init(void)
{
    const char *disks[] = {"/dev/ubda", "/dev/vda"};
    static char line[4096];
    char *words[5] = {0}, *save = NULL, *command;
    int fd;

    /* Names on the host's file system cannot be looked up without waiting. */
    mount_one("tmpfs", "/tmp");
    CHECK(!chroot("/tmp") && !chdir("/"));
    mount_one("proc", "/proc");
    mount_one("sysfs", "/sys");
    mount_one("devtmpfs", "/dev");
    mount_one("tmpfs", "/tmp");
    chmod("/tmp", 01777);
    mount_one("tmpfs", "/dev/shm");
    mount_one("devpts", "/dev/pts");
    mount_hosts();
    end_wait_for_entropy();
    loopback_up();
    mkdir("/ext4", 0755);
    for (int i = 0; i < 2; i++)
        if (!access(disks[i], F_OK) && mount(disks[i], "/ext4", "ext4", 0, NULL))
            printf("no ext4: %s\n", strerror(errno));
    fd = open("/proc/cmdline", O_RDONLY);
    CHECK(fd >= 0 && read(fd, line, sizeof(line) - 1) > 0);
    close(fd);
    command = command_word(line);
    for (int i = 0; i < 4 && command; i++)
        words[i] = strtok_r(i ? NULL : command, ":", &save);
    printf("suite: begins\n");
    fflush(stdout);
    /* In a child, so that whatever happens to it the machine is switched off. */
    if (!fork()) {
        int result = obey(words);

        printf("suite: exit %d\n", result);
        fflush(stdout);
        _exit(result);
    }
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    umount("/ext4");
    sync();
    reboot(RB_POWER_OFF);
}

int
main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getpid() == 1)
        be_init();
    return obey(argv + !!argc);
}
