/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
//go:build ignore

/* One object, so that all programs share the target, the ring and the record
 * of what was seen; the loader loads those it needs. */

#include "kernel.h"
#include "record.h"
#include "target.h"
#include "emit.h"
#include "task.h"
#include "warm.h"
#include "idr.h"
#include "find.h"
#include "tasks.h"
#include "reference.h"
#include "watch.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
