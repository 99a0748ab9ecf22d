/* How many multiply-adds of 8-bit integers one core makes with AMX, by where its tiles come from: registers, or memory
 * that is read again and again. Prints a line for each size in kB, 0 for registers: the size, and 10^9 a second. */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TILE_BYTES = 1024, MULTIPLIED = 4 * 16 * 16 * 64, ROUNDS = 9 };

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} Configuration;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

/* Four sums of tiles at a time, as products make them: two of levels times two of weights. */
static double seconds(const uint8_t *memory, size_t size, long times)
{
    size_t at = 0;
    double began = now();
    for (long turn = 0; turn < times; turn++) {
        if (size) {
            _tile_loadd(4, memory + at, 64);
            _tile_loadd(6, memory + at + TILE_BYTES, 64);
            _tile_loadd(7, memory + at + 2 * TILE_BYTES, 64);
            _tile_loadd(5, memory + at + 3 * TILE_BYTES, 64);
            at = at + 4 * TILE_BYTES == size ? 0 : at + 4 * TILE_BYTES;
        }
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    return now() - began;
}

int main(void)
{
    const size_t kilobytes[] = {0, 16, 1024, 65536}, huge = 2 << 20;
    size_t most = kilobytes[3] << 10;
    uint8_t *memory = aligned_alloc(huge, most);
    if (memory == NULL || syscall(SYS_arch_prctl, 0x1023, 18))
        return 1;
    madvise(memory, most, MADV_HUGEPAGE);
    memset(memory, 1, most);
    Configuration whole = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        whole.row_bytes[tile] = 64;
        whole.rows[tile] = 16;
    }
    _tile_loadconfig(&whole);
    for (int tile = 0; tile < 4; tile++) {
        long times = kilobytes[tile] > 1024 ? 100000 : 500000;
        double least = 1e9;
        for (int round = 0; round < ROUNDS; round++) {
            double found = seconds(memory, kilobytes[tile] << 10, times);
            least = found < least ? found : least;
        }
        printf("%zu %.1f\n", kilobytes[tile], times / least * MULTIPLIED / 1e9);
    }
    return 0;
}
