/* What every C test includes first: cmocka with its prerequisites. `fail` is a function of ours, so cmocka's macro of that name
 * goes, and fail_msg, which uses it, is made anew. */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail
#undef fail_msg
#define fail_msg(...) (print_error("ERROR: " __VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))
#undef fail_msg
/* Ends the test with a message; cmocka's own is made of the macro above. */
#define fail_msg(...)                \
    do {                             \
        print_error("ERROR: ");      \
        print_error(__VA_ARGS__);    \
        print_error("\n");           \
        _fail(__FILE__, __LINE__);   \
    } while (0)

#endif
