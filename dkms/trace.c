// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the trace events of ksm_trace.h expand to, once in the module.
 */
#define CREATE_TRACE_POINTS
#include "ksm_trace.h"
