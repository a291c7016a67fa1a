/* A second or so of integer work as compilers emit it: a sieve, CRC-32 by table, SHA-256, a sort, Collatz chains. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE (1 << 20)

static uint8_t bytes[SIZE];
static uint32_t words[SIZE / 4];
static uint32_t table[256];
static uint32_t state = 2463534242u;

static uint32_t draw(void) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static uint32_t sieve(void) {
    uint32_t count = 0;
    memset(bytes, 1, SIZE);
    for (uint32_t n = 2; n < SIZE; n++) {
        if (!bytes[n])
            continue;
        count++;
        for (uint32_t multiple = 2 * n; multiple < SIZE; multiple += n)
            bytes[multiple] = 0;
    }
    return count;
}

static uint32_t crc(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t value = n;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? 0xedb88320u ^ value >> 1 : value >> 1;
        table[n] = value;
    }
    uint32_t value = ~0u;
    for (uint32_t n = 0; n < SIZE; n++)
        value = table[(value ^ bytes[n]) & 255] ^ value >> 8;
    return ~value;
}

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turn(uint32_t value, int bits) {
    return value >> bits | value << (32 - bits);
}

static void block(uint32_t hash[8], const uint8_t *input) {
    uint32_t w[64], s[8];
    for (int n = 0; n < 16; n++)
        w[n] = (uint32_t)input[4 * n] << 24 | input[4 * n + 1] << 16 | input[4 * n + 2] << 8 | input[4 * n + 3];
    for (int n = 16; n < 64; n++)
        w[n] = w[n - 16] + w[n - 7] + (turn(w[n - 15], 7) ^ turn(w[n - 15], 18) ^ w[n - 15] >> 3)
            + (turn(w[n - 2], 17) ^ turn(w[n - 2], 19) ^ w[n - 2] >> 10);
    memcpy(s, hash, sizeof s);
    for (int n = 0; n < 64; n++) {
        uint32_t first = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6]))
            + constants[n] + w[n];
        uint32_t second = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22))
            + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += first;
        s[0] = first + second;
    }
    for (int n = 0; n < 8; n++)
        hash[n] += s[n];
}

static uint32_t sha(void) {
    uint32_t hash[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (uint32_t offset = 0; offset < SIZE; offset += 64)
        block(hash, bytes + offset);
    return hash[0];
}

static int compare(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static uint32_t sort(void) {
    for (uint32_t n = 0; n < SIZE / 4; n++)
        words[n] = draw();
    qsort(words, SIZE / 4, sizeof *words, compare);
    return words[SIZE / 8];
}

static uint32_t collatz(void) {
    uint32_t longest = 0, best = 0;
    for (uint32_t start = 1; start < 120000; start++) {
        uint32_t length = 0;
        for (uint64_t n = start; n != 1; length++)
            n = n & 1 ? 3 * n + 1 : n / 2;
        if (length > longest)
            longest = length, best = start;
    }
    return best;
}

int main(void) {
    uint32_t mixed = 0;
    for (int round = 0; round < 8; round++) {
        mixed = mixed * 31 + sieve();
        mixed = mixed * 31 + crc();
        mixed = mixed * 31 + sha();
        mixed = mixed * 31 + sort();
        mixed = mixed * 31 + collatz();
    }
    printf("%08x\n", (unsigned)mixed);
    return 0;
}
