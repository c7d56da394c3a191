# libsyslet: a shared and a static library, a header, a pkg-config file. No Python.
#
#   make lib                 builds into build/lib
#   make install-lib         installs below DESTDIR and PREFIX
#   make async-test          the announcement's measurement, on files in build/lib/files
#
# Included by the Makefile; all paths are from the root of the checkout.

LIB ?= build/lib
OBJCOPY ?= objcopy
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
LIB_VERSION = 0.1.0
LIB_SONAME = libsyslet.so.0
LIB_CFLAGS ?= -O2 -g
# The hot path is spread over small files: optimised as one, it takes fewer cache lines,
# which is most of what an atom costs beyond its system call. gcc only.
LIB_LTO ?= $(shell $(CC) --version | grep -q clang || echo -flto=auto)
LIB_JOIN = $(if $(LIB_LTO),$(LIB_LTO) -flinker-output=nolto-rel)
# What the library needs whatever LIB_CFLAGS says.
LIB_FLAGS = -std=gnu11 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections \
            -Wall -Wextra -pthread
LIB_SOURCES = $(wildcard native/engine/*.c native/abi/*.c)
LIB_OBJECTS = $(LIB_SOURCES:native/%.c=$(LIB)/objects/%.o)
LIB_HEADERS = $(wildcard native/engine/*.h native/abi/*.h)
LIB_FILES = $(LIB)/$(LIB_SONAME) $(LIB)/libsyslet.so $(LIB)/libsyslet.a \
            $(LIB)/syslet.pc

.PHONY: lib install-lib

lib: $(LIB_FILES)         ## libsyslet, the announced interface in C, into build/lib

$(LIB)/objects/abi/guard.o: LIB_LTO = # assembly: its symbols must stay as they are

$(LIB)/objects/%.o: native/%.c $(LIB_HEADERS) native/abi/library.mk
	@mkdir -p $(@D)
	$(CC) $(LIB_FLAGS) $(LIB_CFLAGS) $(LIB_LTO) -c $< -o $@

# One object, in which only what the header declares can be seen from outside.
$(LIB)/syslet.o: $(LIB_OBJECTS)
	$(CC) -r -nostdlib $(LIB_FLAGS) $(LIB_CFLAGS) $(LIB_JOIN) $(LIB_OBJECTS) -o $@
	$(OBJCOPY) --localize-hidden $@

# -z nodelete: threads of the library outlive a dlclose.
$(LIB)/$(LIB_SONAME): $(LIB)/syslet.o native/abi/syslet.map
	$(CC) -shared -pthread -Wl,-soname,$(LIB_SONAME) -Wl,--gc-sections -Wl,-z,defs \
	      -Wl,-z,nodelete -Wl,-z,relro -Wl,-z,now \
	      -Wl,--version-script=native/abi/syslet.map $(LIB_CFLAGS) $(LDFLAGS) \
	      $< -o $@

$(LIB)/libsyslet.so: $(LIB)/$(LIB_SONAME)
	ln -sf $(LIB_SONAME) $@

$(LIB)/libsyslet.a: $(LIB)/syslet.o
	rm -f $@
	$(AR) rcs $@ $<

$(LIB)/syslet.pc: native/abi/syslet.pc.in native/abi/library.mk FORCE-PC
	@mkdir -p $(@D)
	sed -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(LIB_VERSION)|' $< >$@

.PHONY: FORCE-PC
FORCE-PC:                # PREFIX may be another one now

.PHONY: async-test
async-test: $(LIB_FILES)  ## 1000 files by plain calls and by libsyslet, uncached and cached
	mkdir -p $(LIB)/files
	$(CC) -O2 -pthread -Inative/abi examples/abi/async_test.c -o $(LIB)/async_test \
	      $(LIB)/libsyslet.a
	$(LIB)/async_test $(LIB)/files

install-lib: $(LIB_FILES) ## libsyslet below DESTDIR and PREFIX (/usr/local)
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	install -m 644 native/abi/syslet.h $(DESTDIR)$(INCLUDEDIR)/syslet.h
	install -m 755 $(LIB)/$(LIB_SONAME) $(DESTDIR)$(LIBDIR)/libsyslet.so.$(LIB_VERSION)
	ln -sf libsyslet.so.$(LIB_VERSION) $(DESTDIR)$(LIBDIR)/$(LIB_SONAME)
	ln -sf $(LIB_SONAME) $(DESTDIR)$(LIBDIR)/libsyslet.so
	install -m 644 $(LIB)/libsyslet.a $(DESTDIR)$(LIBDIR)/libsyslet.a
	install -m 644 $(LIB)/syslet.pc $(DESTDIR)$(LIBDIR)/pkgconfig/syslet.pc
