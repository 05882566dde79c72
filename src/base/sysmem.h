/* sysmem.h - how much memory there is to have. */
#ifndef BASE_SYSMEM_H
#define BASE_SYSMEM_H

#include <stdint.h>

/* Bytes that this process can still take before the system or its control group (v2) runs short; pages of files count
 * as free. 0 if the system does not tell. */
uint64_t sysmem_available(void);

#endif
