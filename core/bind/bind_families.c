/* The table of kernel families. Only here do bindings meet kernels/: core is handed references, it knows no family. */
#include <string.h>

#include "core/bind/bind.h"
#include "kernels/families.h"

const OpFamily op_families[] = {
#define FAMILY(name) {#name, name##_ref},
#include "kernels/families.def"
#undef FAMILY
    {NULL, NULL},
};

OpRef bind_find_ref(const char *family)
{
    for (const OpFamily *f = op_families; f->name; f++)
        if (strcmp(f->name, family) == 0)
            return f->ref;
    return NULL;
}
