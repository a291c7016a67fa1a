/* Writes its standard input back to front, byte by byte; where there is none, "Hello, World". */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char greeting[] = "Hello, World";

int main(void)
{
    size_t capacity = 65536, length = 0;
    char *text = malloc(capacity);
    if (text == NULL)
        return 1;

    for (;;) {
        if (length == capacity) {
            char *larger = realloc(text, capacity *= 2);
            if (larger == NULL)
                return 1;
            text = larger;
        }
        ssize_t got = read(STDIN_FILENO, text + length, capacity - length);
        if (got < 0)
            return 1;
        if (got == 0)
            break;
        length += (size_t)got;
    }
    if (length == 0) {
        length = sizeof greeting - 1;
        memcpy(text, greeting, length);
    }

    for (size_t left = 0, right = length - 1; left < right; left++, right--) {
        char kept = text[left];
        text[left] = text[right];
        text[right] = kept;
    }
    for (size_t written = 0; written < length;) {
        ssize_t done = write(STDOUT_FILENO, text + written, length - written);
        if (done <= 0)
            return 1;
        written += (size_t)done;
    }
    return 0;
}
