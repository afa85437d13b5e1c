/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What clang may call though nobody wrote it. */
#include <stddef.h>

void *memset(void *to, int value, size_t n);

__attribute__((no_builtin("memset")))
void *memset(void *to, int value, size_t n)
{
	unsigned char *at = to;

	while (n--)
		*at++ = value;
	return to;
}
