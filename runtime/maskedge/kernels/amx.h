/* The tiles of AMX, all of them 16 rows of 64 bytes. */
#ifndef MASKEDGE_AMX_H
#define MASKEDGE_AMX_H

#include "vectors.h"

enum { TILE_BYTES = BLOCK_ROWS * BLOCK_COLUMNS, TILES = 8 };

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileConfiguration;

/* Whoever takes them gives them back (_tile_release). */
INLINE void take_tiles(void)
{
    TileConfiguration whole = {.palette = 1};
    for (int tile = 0; tile < TILES; tile++) {
        whole.row_bytes[tile] = BLOCK_COLUMNS;
        whole.rows[tile] = BLOCK_ROWS;
    }
    _tile_loadconfig(&whole);
}

#endif
