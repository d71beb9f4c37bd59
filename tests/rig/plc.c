/* A PLC on libmodbus that triggers, reads, checks and acknowledges, part after part.
 *
 * Each scan reads the 32 result registers in one request, runs its program, and writes the control
 * registers if they changed. It trusts nothing: what it finds wrong it counts, and it goes on.
 *
 *   plc HOST PORT CYCLES SCAN_US TIMEOUT_MS FIRST_PART SCORED [LATENCIES]
 *
 * SCAN_US 0 scans as fast as the link allows. SCORED 1 expects of the inspector that the score of a
 * part is its id modulo 1000, in thousandths, and that 500 and above is REJECT. LATENCIES is a file
 * for one line a part: trigger to result in us, as seen here and as the station reports it, and the
 * sequence number.
 * Prints one JSON object. Exit status 0 if all cycles ran, 1 if the link was lost or too many parts
 * ran into its own timer, 2 for bad use.
 */
#include <errno.h>
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CONTROL_WORDS = 5, RESULT_WORDS = 32, HEARTBEAT_MS = 1000, GIVE_UP = 20 };
enum { ENABLE = 1 << 0, TRIGGER = 1 << 1, ACKNOWLEDGE = 1 << 3, CLEAR_ERROR = 1 << 8 };
enum { READY = 1 << 0, TRIGGER_ACK = 1 << 1, ONLINE = 1 << 7, COMPLETED = 1 << 9, VALID = 1 << 11,
       FAULT = 1 << 15 };
enum { PASS = 1 << 0, REJECT = 1 << 1 };
enum { STATUS = 0, HEARTBEAT = 1, BOOT = 3, HEAD = 4, TRIGGER_ECHO = 5, PART_ECHO = 6, DECISION = 8,
       ERROR = 10, RECIPE = 11, SCORE = 12, PERMILLE = 14, LATENCY = 16, TAIL = 31 };

typedef enum { WANT_READY, WANT_RESULT, WANT_CLEARED } Step;

typedef struct {
    long done, passed, rejected, mismatched, torn, stale, duplicates, gaps, wrong, untoggled;
    long timeouts, frozen, reboots, faults, scans;
} Tally;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void sleep_until(int64_t moment_us) {
    struct timespec t = {moment_us / 1000000, moment_us % 1000000 * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

static uint32_t long_of(const uint16_t *words) { return (uint32_t)words[0] << 16 | words[1]; }

/* Result words are zero while no result is valid; recipe, counters and error are not among them,
 * and in a fault both bits of the decision are set. */
static int all_zero(const uint16_t *words) {
    if (words[DECISION] != (words[STATUS] & FAULT ? PASS | REJECT : 0)) return 0;
    for (int at = HEAD; at < 26; at++)
        if (at != DECISION && at != ERROR && at != RECIPE && words[at]) return 0;
    return words[TAIL] == 0;
}

typedef struct {
    uint16_t trigger, sequence;
    uint32_t part;
    int scored, completed;
} Expected;

static int same_score(const uint16_t *words, uint32_t part) {
    uint32_t permille = part % 1000;
    float expected = (float)permille / 1000.0f;
    float score = modbus_get_float_abcd(words + SCORE);
    int decision = permille >= 500 ? REJECT : PASS;
    return score - expected < 1e-6f && expected - score < 1e-6f && words[PERMILLE] == permille &&
           words[DECISION] == decision;
}

static void check(const uint16_t *words, Expected *expected, Tally *tally) {
    uint16_t head = words[HEAD], next = expected->sequence == 65535 ? 1 : expected->sequence + 1;
    if (head != words[TAIL]) tally->torn++;
    if (words[TRIGGER_ECHO] != expected->trigger || long_of(words + PART_ECHO) != expected->part)
        tally->mismatched++;
    if (head == 0) tally->stale++;
    if (expected->sequence && head == expected->sequence) tally->duplicates++;
    else if (expected->sequence && head != next) tally->gaps++;
    expected->sequence = head;
    int completed = (words[STATUS] & COMPLETED) != 0;
    if (completed == expected->completed) tally->untoggled++;
    expected->completed = completed;
    int good = words[DECISION] == PASS;
    tally->passed += good;
    tally->rejected += words[DECISION] == REJECT;
    if (words[DECISION] != PASS && words[DECISION] != REJECT) tally->wrong++;
    else if (expected->scored && words[ERROR] == 0 && !same_score(words, expected->part))
        tally->wrong++;
}

typedef struct {
    modbus_t *link;
    FILE *latencies;
    int64_t scan_us, timeout_us, triggered_us, since_us, beat_us;
    uint16_t control[CONTROL_WORDS], beat, boot;
    uint32_t first_part;
    Step step;
    Expected expected;
    Tally tally;
} Plc;

static int write_control(Plc *plc, uint16_t levels) {
    plc->control[0] = levels;
    return modbus_write_registers(plc->link, 0, CONTROL_WORDS, plc->control) == CONTROL_WORDS;
}

static int begin(Plc *plc, const uint16_t *words) {
    uint32_t part = plc->first_part + (uint32_t)plc->tally.done;
    plc->expected.part = part;
    plc->expected.trigger = (uint16_t)(plc->expected.trigger + 1);
    plc->expected.completed = (words[STATUS] & COMPLETED) != 0;
    plc->control[2] = plc->expected.trigger;
    plc->control[3] = (uint16_t)(part >> 16);
    plc->control[4] = (uint16_t)part;
    plc->triggered_us = plc->since_us = now_us();
    plc->step = WANT_RESULT;
    return write_control(plc, ENABLE | TRIGGER);
}

static int finish(Plc *plc, const uint16_t *words, int64_t read_us) {
    check(words, &plc->expected, &plc->tally);
    if (plc->latencies)
        fprintf(plc->latencies, "%lld %lu %u\n", (long long)(read_us - plc->triggered_us),
                (unsigned long)long_of(words + LATENCY), words[HEAD]);
    plc->tally.done++;
    plc->since_us = read_us;
    plc->step = WANT_CLEARED;
    return write_control(plc, ENABLE | ACKNOWLEDGE);
}

/* A fault rejects the part in hand; it is cleared, and the part after it starts anew. */
static int clear(Plc *plc, int64_t read_us) {
    if (plc->control[0] & CLEAR_ERROR) return write_control(plc, ENABLE);
    plc->tally.faults++;
    plc->expected.sequence = 0;
    plc->step = WANT_READY;
    plc->since_us = read_us;
    return write_control(plc, ENABLE | CLEAR_ERROR);
}

/* The program of one scan; 0 if the link was lost. */
static int program(Plc *plc, const uint16_t *words, int64_t read_us) {
    uint16_t status = words[STATUS];
    if (!(status & VALID) && !all_zero(words)) plc->tally.stale++;
    if (status & FAULT) return clear(plc, read_us);
    if (plc->control[0] & CLEAR_ERROR) return write_control(plc, ENABLE);
    switch (plc->step) {
    case WANT_READY:
        if ((status & READY) && (status & ONLINE) && !(status & VALID)) return begin(plc, words);
        break;
    case WANT_RESULT:
        if (status & VALID) return finish(plc, words, read_us);
        if ((status & TRIGGER_ACK) && (plc->control[0] & TRIGGER))
            return write_control(plc, ENABLE);
        break;
    case WANT_CLEARED:
        if (!(status & VALID)) {
            plc->step = WANT_READY;
            plc->since_us = read_us;
            return write_control(plc, ENABLE);
        }
        break;
    }
    if (read_us - plc->since_us > plc->timeout_us) { /* rejected by the PLC's own timer */
        plc->tally.timeouts++;
        plc->since_us = read_us;
        plc->step = WANT_READY;
        return write_control(plc, ENABLE);
    }
    return 1;
}

/* What was read is not older than its request, however long this program was kept waiting. */
static void watch(Plc *plc, const uint16_t *words, int64_t asked_us) {
    if (words[HEARTBEAT] != plc->beat || plc->beat_us == 0) {
        plc->beat = words[HEARTBEAT];
        plc->beat_us = now_us();
    } else if (asked_us - plc->beat_us > HEARTBEAT_MS * 1000) {
        plc->tally.frozen++;
        plc->beat_us = asked_us;
    }
    if (plc->boot && words[BOOT] != plc->boot) {
        plc->tally.reboots++;
        plc->expected.sequence = 0;
    }
    plc->boot = words[BOOT];
}

static int run(Plc *plc, long cycles) {
    int64_t next_us = now_us();
    if (!write_control(plc, 0) || !write_control(plc, ENABLE)) return 0;
    plc->since_us = next_us;
    while (plc->tally.done < cycles || plc->step == WANT_CLEARED) {
        uint16_t words[RESULT_WORDS];
        int64_t asked_us = now_us();
        if (modbus_read_input_registers(plc->link, 0, RESULT_WORDS, words) != RESULT_WORDS)
            return 0;
        int64_t read_us = now_us();
        plc->tally.scans++;
        watch(plc, words, asked_us);
        if (!program(plc, words, read_us)) return 0;
        if (plc->tally.timeouts > GIVE_UP) return 0;
        if (plc->scan_us) {
            next_us += plc->scan_us;
            if (next_us < now_us()) next_us = now_us(); /* an overrun scan is not caught up with */
            sleep_until(next_us);
        }
    }
    return 1;
}

static void report(const Tally *t, double seconds, int linked) {
    printf("{\"done\": %ld, \"passed\": %ld, \"rejected\": %ld, \"mismatched\": %ld, \"torn\": %ld, "
           "\"stale\": %ld, \"duplicates\": %ld, \"gaps\": %ld, \"wrong\": %ld, \"untoggled\": %ld, "
           "\"timeouts\": %ld, \"frozen\": %ld, \"reboots\": %ld, \"faults\": %ld, \"scans\": %ld, "
           "\"seconds\": %.3f, \"linked\": %s}\n",
           t->done, t->passed, t->rejected, t->mismatched, t->torn, t->stale, t->duplicates, t->gaps,
           t->wrong, t->untoggled, t->timeouts, t->frozen, t->reboots, t->faults, t->scans, seconds,
           linked ? "true" : "false");
}

int main(int count, char **words) {
    if (count < 8) {
        fprintf(stderr, "plc HOST PORT CYCLES SCAN_US TIMEOUT_MS FIRST_PART SCORED [LATENCIES]\n");
        return 2;
    }
    Plc plc = {0};
    plc.scan_us = atol(words[4]);
    plc.timeout_us = atol(words[5]) * 1000;
    plc.first_part = (uint32_t)strtoul(words[6], NULL, 10);
    plc.expected.scored = atoi(words[7]);
    plc.link = modbus_new_tcp(words[1], atoi(words[2]));
    if (!plc.link || modbus_connect(plc.link)) {
        fprintf(stderr, "plc: %s:%s: %s\n", words[1], words[2], modbus_strerror(errno));
        return 1;
    }
    modbus_set_response_timeout(plc.link, 5, 0);
    if (count > 8 && !(plc.latencies = fopen(words[8], "w"))) {
        fprintf(stderr, "plc: %s: %s\n", words[8], strerror(errno));
        return 2;
    }
    int64_t begun = now_us();
    int linked = run(&plc, atol(words[3]));
    if (!linked) fprintf(stderr, "plc: gave up: %s\n", modbus_strerror(errno));
    report(&plc.tally, (double)(now_us() - begun) / 1e6, linked);
    if (plc.latencies) fclose(plc.latencies);
    modbus_close(plc.link);
    modbus_free(plc.link);
    return linked ? 0 : 1;
}
