# Builds every test program of the directory that includes this, statically, into OUT.
CASES := $(dir $(lastword $(MAKEFILE_LIST)))
CC     ?= gcc
CFLAGS ?= -O1 -fno-toplevel-reorder -std=gnu11 -Wall -Wno-nonnull -Wno-unused-result -Wno-stringop-overflow -Wno-array-bounds -Wno-stringop-overread

PROGS = $(patsubst %.c,$(OUT)/%,$(wildcard *.c))

all: $(PROGS)

$(OUT)/%: %.c $(OUT)/harness.o $(CASES)test.h $(wildcard *.h)
	$(CC) $(CFLAGS) -I$(CASES) -static -pthread -o $@ $< $(OUT)/harness.o

$(OUT)/harness.o: $(CASES)harness.c $(CASES)test.h
	@mkdir -p $(OUT)
	$(CC) $(CFLAGS) -c -o $@ $<
