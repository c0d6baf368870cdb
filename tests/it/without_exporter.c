/* Preloaded into an unmodified OpenVPN 2.6 server: clears bit 3 (keys by TLS exporter) of the clients' IV_PROTO as
 * the server reads it, which makes it derive data keys by the PRF as its older releases do. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KEY_EXPORT 8u

static int scan(const char *text, const char *format, va_list arguments)
{
    va_list copy;
    va_copy(copy, arguments);
    int found = vsscanf(text, format, arguments);
    if (found == 1 && strncmp(format, "IV_PROTO=%", 10) == 0)
        *va_arg(copy, unsigned int *) &= ~KEY_EXPORT;
    va_end(copy);
    return found;
}

#define REPLACE(name)                             \
    int name(const char *text, const char *format, ...) \
    {                                             \
        va_list arguments;                        \
        va_start(arguments, format);              \
        int found = scan(text, format, arguments); \
        va_end(arguments);                        \
        return found;                             \
    }

REPLACE(__isoc99_sscanf)
REPLACE(__isoc23_sscanf)
