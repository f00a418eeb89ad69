/* slots: see slots.h. */
#include "daemon/redis/slots.h"
#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL 0x1021 /* CRC-16/XMODEM, as the specification of Redis Cluster has it */

static uint16_t crc_of_byte(uint8_t byte)
{
    uint16_t crc = (uint16_t)(byte << 8);
    for (int i = 0; i < 8; i++)
        crc = (uint16_t)((crc << 1) ^ (crc & 0x8000 ? POLYNOMIAL : 0));
    return crc;
}

static uint16_t crc16(const char *s, size_t len)
{
    static uint16_t table[256]; /* that of 0 is 0, of 1 it is not */
    uint16_t crc = 0;
    for (int i = 0; i < 256 && table[255] == 0; i++)
        table[i] = crc_of_byte((uint8_t)i);
    for (size_t i = 0; i < len; i++)
        crc = (uint16_t)((crc << 8) ^ table[(crc >> 8) ^ (uint8_t)s[i]]);
    return crc;
}

uint16_t slot_of(const char *key, size_t len)
{
    const char *open = memchr(key, '{', len);
    const char *close = open != NULL ? memchr(open + 1, '}', len - (size_t)(open + 1 - key)) : NULL;
    if (close == NULL || close == open + 1)
        return crc16(key, len) % SLOTS;
    return crc16(open + 1, (size_t)(close - open - 1)) % SLOTS;
}

/* The next text in their order: by length, then by letters. */
static void count_up(char text[static SLOT_TAG_MAX + 1])
{
    size_t n = strlen(text), i = n;
    while (i > 0 && text[i - 1] == 'z')
        text[--i] = 'a';
    if (i > 0)
        text[i - 1]++;
    else
        text[n] = 'a';
}

const char *slot_tag(uint16_t slot)
{
    static char tags[SLOTS][SLOT_TAG_MAX + 1];
    static unsigned found;
    char text[SLOT_TAG_MAX + 1] = "a";
    for (; found < SLOTS; count_up(text)) {
        uint16_t leads_to = slot_of(text, strlen(text));
        if (tags[leads_to][0] == '\0') {
            memcpy(tags[leads_to], text, sizeof(text));
            found++;
        }
    }
    return tags[slot];
}
