/* Checked mode proves each thing it can find: for every kind of finding small kernels that must cause exactly it — kind, line,
 * block, warp, lanes, and what the sentence names — and a repaired twin of each that must cause none, under several schedules.
 * A body is one line of PTX a line; one that starts with '-' is only in the broken kernel, with '+' only in the repaired one, and
 * "//!" marks where the finding is to be. Every kernel has `in` (64 words 0, 1, 2, …), `out` (64 unwritten words), `lent`
 * (64 words, read-only), 256 threads at most, %r1 the thread, %r2 the lane, %r3 the block, %rd4 = in + 4 thread,
 * %rd5 = out + 4 thread, %r8 = s + 4 thread in 2048 bytes of shared memory. */
#include "tests/emu/emu_fixture.h"

enum { WORDS = 64, SEEDS = 6, LINES = 80 };
#define ALL 0xFFFFFFFFu

typedef struct Case {
    const char *name;
    EmuFindingKind kind;
    uint32_t blocks, threads;
    uint64_t block;
    uint32_t warp, lanes; /* lanes 0: not looked at */
    const char *says;     /* a part of the sentence */
    uint64_t fuel;
    const char *body;
} Case;

static const char head[] =
    ".version 8.7\n.target sm_80\n.address_size 64\n"
    ".visible .entry k(.param .u64 in, .param .u64 out, .param .u64 lent)\n{\n"
    ".reg .pred %p<16>; .reg .b16 %h<16>; .reg .b32 %r<64>; .reg .f32 %f<16>; .reg .b64 %rd<32>;\n"
    ".shared .align 16 .b8 s[2048];\n.local .align 8 .b8 stack[16];\n"
    "ld.param.u64 %rd1, [in]; ld.param.u64 %rd2, [out]; ld.param.u64 %rd3, [lent];\n"
    "mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 31; mov.u32 %r3, %ctaid.x; shl.b32 %r4, %r1, 2;\n"
    "mul.wide.u32 %rd6, %r1, 4; add.s64 %rd4, %rd1, %rd6; add.s64 %rd5, %rd2, %rd6;\n"
    "mov.u32 %r7, s; add.u32 %r8, %r7, %r4;\n";

static const Case cases[] = {
    {"load behind the end", EMU_OUT_OF_BOUNDS, 1, 64, 0, 1, 0xC0000000, "0 bytes behind the end of \"in\" (256 bytes)", 0,
     "-ld.global.u32 %r10, [%rd4+8]; //!\n"
     "+ld.global.u32 %r10, [%rd4];\n"
     "st.global.u32 [%rd5], %r10;\n"},
    {"store before the start", EMU_OUT_OF_BOUNDS, 1, 32, 0, 0, 1, "4 bytes before \"out\"", 0,
     "-st.global.u32 [%rd5+-4], %r1; //!\n"
     "+st.global.u32 [%rd5], %r1;\n"},
    {"load across the end", EMU_OUT_OF_BOUNDS, 1, 32, 0, 0, 1, "byte 252 of \"in\"", 0,
     "setp.ne.u32 %p1, %r2, 0;\n@%p1 ret;\n"
     "-ld.global.v2.u32 {%r10, %r11}, [%rd1+252]; //!\n"
     "+ld.global.v2.u32 {%r10, %r11}, [%rd1+248];\n"},
    {"null pointer", EMU_OUT_OF_BOUNDS, 1, 32, 0, 0, ALL, "a null pointer", 0,
     "-mov.u64 %rd10, 0;\n"
     "+mov.u64 %rd10, %rd1;\n"
     "ld.global.u32 %r10, [%rd10]; //!\n"},
    {"shared behind the end", EMU_OUT_OF_BOUNDS, 1, 32, 0, 0, 1u << 31, "of the block's 2048 bytes of shared memory", 0,
     "-st.shared.u32 [%r8+1924], %r1; //!\n"
     "+st.shared.u32 [%r8+1920], %r1;\n"},
    {"local behind the end", EMU_OUT_OF_BOUNDS, 1, 32, 0, 0, ALL, "of 4 bytes at byte 16", 0,
     "mov.u64 %rd10, stack;\n"
     "-st.local.u32 [%rd10+16], %r1; //!\n"
     "+st.local.u32 [%rd10+12], %r1;\n"},
    {"cp.async behind the end", EMU_OUT_OF_BOUNDS, 1, 32, 0, 0, 1u << 31, "\"in\"", 0,
     "mul.wide.u32 %rd10, %r1, 8; add.s64 %rd11, %rd1, %rd10; shl.b32 %r10, %r1, 4; add.u32 %r10, %r7, %r10;\n"
     "-cp.async.ca.shared.global [%r10], [%rd11+8], 8; //!\n"
     "+cp.async.ca.shared.global [%r10], [%rd11], 8;\n"
     "cp.async.wait_all;\n"},
    {"misaligned load", EMU_MISALIGNED, 1, 32, 0, 0, ALL, "2 above a multiple of 4", 0,
     "-ld.global.u32 %r10, [%rd4+2]; //!\n"
     "+ld.global.u32 %r10, [%rd4+4];\n"},
    {"misaligned vector in shared memory", EMU_MISALIGNED, 1, 4, 0, 0, 0xE, "16 bytes at a shared address", 0,
     "-st.shared.v4.u32 [%r8], {%r1, %r1, %r1, %r1}; //!\n"
     "+shl.b32 %r10, %r1, 4; add.u32 %r10, %r7, %r10;\n"
     "+st.shared.v4.u32 [%r10], {%r1, %r1, %r1, %r1};\n"},
    {"store to lent memory", EMU_READ_ONLY, 1, 32, 0, 0, ALL, "\"lent\"", 0,
     "-add.s64 %rd10, %rd3, %rd6;\n"
     "+add.s64 %rd10, %rd2, %rd6;\n"
     "st.global.u32 [%rd10], %r1; //!\n"},
    {"read of unwritten output", EMU_UNINITIALISED_GLOBAL, 1, 32, 0, 0, ALL, "byte 0 of \"out\"", 0,
     "+st.global.u32 [%rd5], %r1;\n"
     "ld.global.u32 %r10, [%rd5]; //!\n"},
    {"atomic on unwritten output", EMU_UNINITIALISED_GLOBAL, 1, 32, 0, 0, ALL, "\"out\"", 0,
     "+st.global.u32 [%rd5], 0;\n"
     "red.global.add.u32 [%rd5], 1; //!\n"},
    {"half a word unwritten", EMU_UNINITIALISED_GLOBAL, 1, 32, 0, 0, ALL, "byte 0 of \"out\"", 0,
     "mov.u16 %h1, 7;\nst.global.u16 [%rd5], %h1;\n"
     "+st.global.u16 [%rd5+2], %h1;\n"
     "ld.global.u32 %r10, [%rd5]; //!\n"},
    {"read of unwritten shared memory", EMU_UNINITIALISED_SHARED, 1, 32, 0, 0, ALL, "shared byte", 0,
     "+st.shared.u32 [%r8], %r1;\n"
     "ld.shared.u32 %r10, [%r8]; //!\n"},
    {"half a shared word unwritten", EMU_UNINITIALISED_SHARED, 1, 32, 0, 0, ALL, "shared byte", 0,
     "mov.u16 %h1, 7;\nst.shared.u16 [%r8], %h1;\n"
     "+st.shared.u16 [%r8+2], %h1;\n"
     "ld.shared.u32 %r10, [%r8]; //!\n"},
    {"read after write of another warp", EMU_RACE, 1, 64, 0, 0, ALL, "written by warp 1, with no barrier between", 0,
     "st.shared.u32 [%r8], %r1;\nbar.sync 0;\nsetp.ge.u32 %p1, %r1, 32;\n"
     "@%p1 st.shared.u32 [%r8], %r2; //!\n"
     "+bar.sync 0;\n"
     "@!%p1 ld.shared.u32 %r11, [%r8+128]; //!\n"},
    {"two warps write one place", EMU_RACE, 1, 64, 0, 1, 0, "written here and by warp 0", 0,
     "-shl.b32 %r10, %r2, 2; add.u32 %r10, %r7, %r10;\n"
     "+mov.u32 %r10, %r8;\n"
     "st.shared.u32 [%r10], %r1; //!\n"},
    {"write after read of another warp", EMU_RACE, 1, 64, 0, 0, ALL, "read by warp 1", 0,
     "st.shared.u32 [%r8], %r1;\nbar.sync 0;\nsetp.ge.u32 %p1, %r1, 32;\n"
     "@%p1 ld.shared.u32 %r11, [%r8+-128]; //!\n"
     "+bar.sync 0;\n"
     "@!%p1 st.shared.u32 [%r8], %r2; //!\n"},
    {"halves of a word by two warps, the first half by a third", EMU_RACE, 1, 96, 0, 2, ALL, "written by warp 0", 0,
     "st.shared.u32 [%r8], 0;\nbar.sync 0;\n"
     "shl.b32 %r10, %r2, 2; add.u32 %r10, %r7, %r10; mov.u16 %h1, 5; shr.u32 %r11, %r1, 5; setp.eq.u32 %p1, %r11, 0;\n"
     "setp.eq.u32 %p2, %r11, 1; setp.eq.u32 %p3, %r11, 2;\n"
     "@%p1 st.shared.u16 [%r10], %h1; //!\n"
     "@%p2 st.shared.u16 [%r10+2], %h1;\n"
     "-@!%p1 bar.sync 1, 64;\n"
     "+bar.sync 0;\n"
     "@%p3 ld.shared.u16 %h2, [%r10]; //!\n"},
    {"a word read by halves, then written", EMU_RACE, 1, 96, 0, 2, ALL, "read by warp 0", 0,
     "st.shared.u32 [%r8], 0;\nbar.sync 0;\n"
     "shl.b32 %r10, %r2, 2; add.u32 %r10, %r7, %r10; shr.u32 %r11, %r1, 5; setp.eq.u32 %p1, %r11, 0;\n"
     "setp.eq.u32 %p2, %r11, 1; setp.eq.u32 %p3, %r11, 2; mov.u16 %h3, 9;\n"
     "@%p1 ld.shared.u16 %h1, [%r10]; //!\n"
     "@%p2 ld.shared.u16 %h2, [%r10+2];\n"
     "-@!%p1 bar.sync 1, 64;\n"
     "+bar.sync 0;\n"
     "-@%p3 st.shared.u16 [%r10], %h3; //!\n"
     "+@%p3 st.shared.u32 [%r10], %r1;\n"},
    {"two lanes store different values", EMU_RACE_LANES, 1, 32, 0, 0, 0x10001, "two lanes write different values", 0,
     "-and.b32 %r10, %r4, 63;\n"
     "+mov.u32 %r10, %r4;\n"
     "add.u32 %r10, %r7, %r10;\nst.shared.u32 [%r10], %r1; //!\n"},
    {"two lanes store different values to global memory", EMU_RACE_LANES, 1, 32, 0, 0, 3, "two lanes write different values", 0,
     "-st.global.u32 [%rd2], %r1; //!\n"
     "+st.global.u32 [%rd2], 7;\n"},
    {"vectors of two lanes overlap", EMU_RACE_LANES, 1, 32, 0, 0, 3, "two lanes write different values", 0,
     "shl.b32 %r10, %r1, 3; add.u32 %r10, %r7, %r10;\n"
     "-shl.b32 %r11, %r1, 2; add.u32 %r10, %r7, %r11; and.b32 %r12, %r10, 8; sub.u32 %r10, %r10, %r12;\n"
     "and.b32 %r10, %r10, 0xFFFFFFF8;\n"
     "st.shared.v2.u32 [%r10], {%r1, %r2}; //!\n"},
    {"neighbour's value without bar.warp.sync", EMU_RACE_LANES, 1, 32, 0, 0, 0, "written by lane", 0,
     "st.shared.u32 [%r8], %r1;\n"
     "+bar.warp.sync 0xFFFFFFFF;\n"
     "xor.b32 %r10, %r4, 4; add.u32 %r10, %r7, %r10;\n"
     "ld.shared.u32 %r11, [%r10]; //!\n"},
    {"a shuffle orders nothing in memory", EMU_RACE_LANES, 1, 32, 0, 0, 0, "written by lane", 0,
     "st.shared.u32 [%r8], %r1;\nshfl.sync.bfly.b32 %r12, %r1, 1, 31, 0xFFFFFFFF;\n"
     "+bar.warp.sync 0xFFFFFFFF;\n"
     "xor.b32 %r10, %r4, 4; add.u32 %r10, %r7, %r10;\n"
     "ld.shared.u32 %r11, [%r10]; //!\n"},
    {"overwritten before the neighbour has read", EMU_RACE_LANES, 1, 32, 0, 0, 0, "read by lane", 0,
     "st.shared.u32 [%r8], %r1;\nbar.warp.sync 0xFFFFFFFF;\nxor.b32 %r10, %r4, 4; add.u32 %r10, %r7, %r10;\n"
     "ld.shared.u32 %r11, [%r10];\n"
     "+bar.warp.sync 0xFFFFFFFF;\n"
     "st.shared.u32 [%r8], %r11; //!\n"},
    {"the other half of the warp synchronised", EMU_RACE_LANES, 1, 32, 0, 0, 0xFFFF0000, "written by lane", 0,
     "st.shared.u32 [%r8], %r1;\nsetp.lt.u32 %p1, %r2, 16;\n"
     "@%p1 bra low;\n"
     "+bar.warp.sync 0xFFFF0000;\n"
     "bra.uni on;\n"
     "low:\nbar.warp.sync 0x0000FFFF;\n"
     "on:\nxor.b32 %r10, %r4, 4; add.u32 %r10, %r7, %r10;\n"
     "ld.shared.u32 %r11, [%r10]; //!\n"},
    {"sides of a branch", EMU_RACE_LANES, 1, 32, 0, 0, 0, "by lane", 0,
     "st.shared.u32 [%r8], 0;\nbar.warp.sync 0xFFFFFFFF;\nsetp.eq.u32 %p1, %r2, 3;\n"
     "@%p1 bra writer;\n"
     "-setp.eq.u32 %p2, %r2, 9;\n-@%p2 ld.shared.u32 %r11, [%r7]; //!\n"
     "bra.uni end;\n"
     "writer:\nst.shared.u32 [%r7], 5; //!\n"
     "end:\n"
     "+bar.warp.sync 0xFFFFFFFF;\n+ld.shared.u32 %r11, [%r7];\n"},
    {"another lane's copy", EMU_RACE_LANES, 1, 32, 0, 0, 0, "written by lane", 0,
     "cp.async.ca.shared.global [%r8], [%rd4], 4;\ncp.async.wait_all;\n"
     "+bar.warp.sync 0xFFFFFFFF;\n"
     "xor.b32 %r10, %r4, 4; add.u32 %r10, %r7, %r10;\n"
     "ld.shared.u32 %r11, [%r10]; //!\n"},
    {"two blocks write one place", EMU_RACE_BLOCKS, 2, 32, 1, 0, ALL, "of \"out\": written here and by another block", 0,
     "-st.global.u32 [%rd5], %r1; //!\n"
     "+mad.wide.u32 %rd10, %r3, 128, %rd5;\n+st.global.u32 [%rd10], %r1;\n"},
    {"a block reads what another writes", EMU_RACE_BLOCKS, 2, 32, 1, 0, ALL, "of \"out\": read here, written by another block", 0,
     "setp.eq.u32 %p1, %r3, 0;\n"
     "-@%p1 st.global.u32 [%rd5], %r1; //!\n-@!%p1 ld.global.u32 %r10, [%rd5]; //!\n"
     "+@%p1 st.global.u32 [%rd5], %r1;\n+@!%p1 ld.global.u32 %r10, [%rd4];\n"},
    {"a block overwrites what others read", EMU_RACE_BLOCKS, 3, 32, 2, 0, ALL, "of \"in\": written here, read by several blocks", 0,
     "setp.eq.u32 %p1, %r3, 2;\n"
     "@!%p1 ld.global.u32 %r10, [%rd4]; //!\n"
     "-@%p1 st.global.u32 [%rd4], 5; //!\n"
     "+@%p1 st.global.u32 [%rd4+128], 5;\n"},
    {"warps meet in global memory", EMU_RACE, 1, 64, 0, 0, ALL, "of \"in\": read here, written by warp 1", 0,
     "setp.ge.u32 %p1, %r1, 32;\nbar.sync 0;\n"
     "@%p1 st.global.u32 [%rd4], 5; //!\n"
     "+bar.sync 0;\n"
     "@!%p1 ld.global.u32 %r10, [%rd4+128]; //!\n"},
    {"lanes meet in global memory", EMU_RACE_LANES, 1, 32, 0, 0, 0, "of \"out\": read here, written by another lane", 0,
     "st.global.u32 [%rd5], %r1;\n"
     "+bar.warp.sync 0xFFFFFFFF;\n"
     "xor.b32 %r10, %r4, 4; cvt.u64.u32 %rd10, %r10; add.s64 %rd10, %rd2, %rd10;\n"
     "ld.global.u32 %r11, [%rd10]; //!\n"},
    {"an atomic and a plain read", EMU_RACE, 1, 64, 0, 0, 0, "shared byte 0", 0,
     "setp.ge.u32 %p1, %r1, 32; setp.eq.u32 %p2, %r1, 0;\n@%p2 st.shared.u32 [%r7], 0;\nbar.sync 0;\n"
     "@%p1 red.shared.add.u32 [%r7], 1; //!\n"
     "+bar.sync 0;\n"
     "@!%p1 ld.shared.u32 %r10, [%r7]; //!\n"},
    {"a barrier of other warps", EMU_RACE, 1, 96, 0, 0, ALL, "read by warp 2", 0,
     "st.shared.u32 [%r8], %r1;\nbar.sync 0;\n"
     "setp.lt.u32 %p1, %r1, 32; setp.ge.u32 %p2, %r1, 64;\n"
     "@%p1 st.shared.u32 [%r8], %r2; //!\n"
     "-@%p2 bra read;\n"
     "-bar.sync 1, 64;\n"
     "+bar.sync 1, 96;\n"
     "read:\n@%p2 ld.shared.u32 %r11, [%r8+-256]; //!\n"},
    {"copy not waited for", EMU_ASYNC_PENDING, 1, 32, 0, 0, ALL, "a cp.async of warp 0", 0,
     "cp.async.ca.shared.global [%r8], [%rd4], 4;\ncp.async.commit_group;\n"
     "+cp.async.wait_group 0;\n"
     "ld.shared.u32 %r10, [%r8]; //!\n"},
    {"wait allows one group too many", EMU_ASYNC_PENDING, 1, 32, 0, 0, ALL, "a cp.async of warp 0", 0,
     "cp.async.ca.shared.global [%r8], [%rd4], 4;\ncp.async.commit_group;\n"
     "-cp.async.wait_group 1;\n"
     "+cp.async.wait_group 0;\n"
     "ld.shared.u32 %r10, [%r8]; //!\n"},
    {"commit is missing", EMU_ASYNC_PENDING, 1, 32, 0, 0, ALL, "a cp.async of warp 0", 0,
     "cp.async.ca.shared.global [%r8], [%rd4], 4;\n"
     "+cp.async.commit_group;\n"
     "cp.async.wait_group 0;\n"
     "ld.shared.u32 %r10, [%r8]; //!\n"},
    {"another warp's copy", EMU_RACE, 1, 64, 0, 0, ALL, "written by warp 1", 0,
     "st.shared.u32 [%r8], %r1;\nbar.sync 0;\nsetp.ge.u32 %p1, %r1, 32;\n"
     "@%p1 cp.async.ca.shared.global [%r8], [%rd4+-128], 4; //!\n"
     "cp.async.wait_all;\n"
     "+bar.sync 0;\n"
     "@!%p1 ld.shared.u32 %r11, [%r8+128]; //!\n"},
    {"a copy that has not landed, seen by another warp", EMU_ASYNC_PENDING, 1, 64, 0, 1, ALL, "a cp.async of warp 0", 0,
     "setp.lt.u32 %p1, %r1, 32;\n"
     "@%p1 cp.async.ca.shared.global [%r8], [%rd4], 4;\n"
     "+cp.async.wait_all;\n"
     "bar.sync 0;\n"
     "@!%p1 ld.shared.u32 %r11, [%r8+-128]; //!\n"},
    {"sides of a branch wait apart", EMU_BARRIER_DIVERGENT, 1, 32, 0, 0, 0, "another barrier (PTX line", 0,
     "setp.lt.u32 %p1, %r2, 16;\n"
     "-@%p1 bra low;\n-bar.sync 0; //!\n-bra.uni end;\n-low:\n-bar.sync 0; //!\n-end:\n"
     "+bar.sync 0;\n"},
    {"half of the threads wait", EMU_DEADLOCK, 1, 64, 0, 0, ALL, "warp 0 lanes FFFFFFFF at line", 0,
     "setp.lt.u32 %p1, %r1, 32;\n"
     "-@%p1 bra first;\n-bar.sync 2, 64;\n-bra.uni end;\n-first:\n-bar.sync 1, 64; //!\n-end:\n"
     "+bar.sync 1, 64;\n"},
    {"endless loop", EMU_HANG, 1, 32, 0, 0, ALL, "instruction limit", 100000,
     "mov.u32 %r10, 0;\nagain:\n"
     "-add.u32 %r10, %r10, 0; //!\n"
     "+add.u32 %r10, %r10, 1;\n"
     "setp.lt.u32 %p1, %r10, 10;\n@%p1 bra again;\n"},
    {"a flag that nobody sets", EMU_HANG, 1, 32, 0, 0, ALL, "instruction limit", 100000,
     "+st.volatile.global.u32 [%rd5], 1;\n"
     "-st.volatile.global.u32 [%rd5], 0;\n"
     "again:\nld.volatile.global.u32 %r10, [%rd5]; //!\n"
     "setp.eq.u32 %p1, %r10, 0;\n@%p1 bra again;\n"},
    {"trap", EMU_TRAP, 2, 32, 1, 0, 0xFF00, "the kernel stops itself", 0,
     "setp.eq.u32 %p1, %r3, 1; and.b32 %r10, %r2, 24;\nsetp.eq.and.u32 %p2, %r10, 8, %p1;\n"
     "-@!%p2 bra end;\n-trap; //!\n-end:\n"},
    {"lanes outside of their mask", EMU_SYNC_MASK, 1, 32, 0, 0, 0xFFFF0000, "leaves out", 0,
     "-shfl.sync.bfly.b32 %r10, %r1, 1, 31, 0x0000FFFF; //!\n"
     "+shfl.sync.bfly.b32 %r10, %r1, 1, 31, 0xFFFFFFFF;\n"},
    {"value of an absent lane", EMU_SYNC_MASK, 1, 32, 0, 0, 0, "a lane that takes no part", 0,
     "setp.ge.u32 %p1, %r2, 16;\n@%p1 bra end;\n"
     "-shfl.sync.down.b32 %r10, %r1, 8, 31, 0xFFFF; //!\n"
     "+shfl.sync.down.b32 %r10, %r1, 8, 0x100F, 0xFFFF;\n"
     "end:\n"},
    {"an address computed from nothing", EMU_UNINITIALISED_REGISTER, 1, 32, 0, 0, ALL, "%rd12, computed from %r20, which was never written, is an address", 0,
     "+mov.u32 %r20, 1;\n"
     "mul.wide.u32 %rd11, %r20, 4;\nadd.s64 %rd12, %rd4, %rd11;\n"
     "ld.global.u32 %r10, [%rd12]; //!\n"},
    {"a value that half of the lanes wrote is stored", EMU_UNINITIALISED_REGISTER, 2, 64, 0, 1, 0xFFFF0000, "%r20, which was never written, is stored", 0,
     "setp.lt.u32 %p1, %r1, 48;\n@%p1 mov.u32 %r20, 5;\n"
     "+@!%p1 mov.u32 %r20, 6;\n"
     "mad.wide.u32 %rd10, %r3, 0, %rd5;\n"
     "setp.eq.u32 %p2, %r3, 0;\n@%p2 st.global.u32 [%rd10], %r20; //!\n"},
    {"one of a vector", EMU_UNINITIALISED_REGISTER, 1, 16, 0, 0, 0xFFFF, "%f3, computed from %f2", 0,
     "mov.f32 %f1, 0f3F800000;\n"
     "+mov.f32 %f2, 0f3F800000;\n"
     "fma.rn.f32 %f3, %f1, %f2, %f1;\nshl.b32 %r10, %r1, 4; add.u32 %r10, %r7, %r10;\n"
     "st.shared.v4.f32 [%r10], {%f1, %f1, %f3, %f1}; //!\n"},
    {"the path that writes it was not taken", EMU_UNINITIALISED_REGISTER, 1, 32, 0, 0, 0xFFFFFFF8, "%r20, which was never written", 0,
     "setp.ge.u32 %p1, %r2, 3;\n@%p1 bra over;\nmov.u32 %r20, 1;\nover:\n"
     "-mov.b32 %r21, %r20;\n"
     "+selp.b32 %r21, 0, %r20, %p1;\n"
     "st.shared.u32 [%r8], %r21; //!\n"},
    {"the predicate of a branch", EMU_UNINITIALISED_REGISTER, 1, 32, 0, 0, ALL, "%p5, which was never written, is the predicate of a branch", 0,
     "+setp.eq.u32 %p5, %r2, 3;\n"
     "@%p5 bra on; //!\nst.shared.u32 [%r8], %r1;\non:\n"},
    {"the guard of a store", EMU_UNINITIALISED_REGISTER, 1, 32, 0, 0, ALL, "%p6, computed from %r20, which was never written, is a guard", 0,
     "+mov.u32 %r20, 0;\n"
     "setp.ne.u32 %p6, %r20, 0;\n"
     "@%p6 st.shared.u32 [%r8], %r1; //!\n"},
    {"a predicate that another does not decide", EMU_UNINITIALISED_REGISTER, 1, 32, 0, 0, 0xFF, "%p7, computed from %p5", 0,
     "setp.lt.u32 %p6, %r2, 8;\n"
     "+@%p6 mov.pred %p5, %p6;\n"
     "and.pred %p7, %p5, %p6;\n"
     "@%p7 bra on; //!\nst.shared.u32 [%r8], %r1;\non:\n"},
    {"a shuffle hands it on", EMU_UNINITIALISED_REGISTER, 1, 32, 0, 0, 0xFFFF, "%r21, computed from %r20", 0,
     "setp.lt.u32 %p1, %r2, 16;\n@%p1 mov.u32 %r20, 5;\n"
     "-shfl.sync.bfly.b32 %r21, %r20, 16, 31, 0xFFFFFFFF;\n"
     "+shfl.sync.idx.b32 %r21, %r20, 0, 31, 0xFFFFFFFF;\n"
     "@%p1 st.shared.u32 [%r8], %r21; //!\n"},
    {"a vote counts it", EMU_UNINITIALISED_REGISTER, 1, 32, 0, 0, ALL, "%r21, computed from %p5", 0,
     "setp.lt.u32 %p1, %r2, 31;\n@%p1 setp.eq.u32 %p5, %r2, 3;\n"
     "+@!%p1 setp.eq.u32 %p5, %r2, 3;\n"
     "vote.sync.ballot.b32 %r21, %p5, 0xFFFFFFFF;\n"
     "st.shared.u32 [%r8], %r21; //!\n"},
    {"rows of an mma", EMU_UNINITIALISED_REGISTER, 1, 32, 0, 0, 0xFFF00000, "%f3, computed from %r21", 0,
     "mov.u32 %r20, 0; mov.f32 %f5, 0f00000000; setp.lt.u32 %p1, %r2, 20;\n@%p1 mov.u32 %r21, 0;\n"
     "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r20, %r20, %r20, %r21}, {%r20, %r20}, {%f5, %f5, %f5, %f5};\n"
     "st.shared.f32 [%r8], %f1;\n"
     "-st.shared.f32 [%r8+128], %f3; //!\n"
     "+@%p1 st.shared.f32 [%r8+128], %f3;\n"},
    {"columns of an mma", EMU_UNINITIALISED_REGISTER, 1, 32, 0, 0, 0x88888888, "%f1, computed from %r21", 0,
     "mov.u32 %r20, 0; mov.f32 %f5, 0f00000000; setp.lt.u32 %p1, %r2, 24;\n@%p1 mov.u32 %r21, 0;\n"
     "+@!%p1 mov.u32 %r21, 0;\n"
     "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r20, %r20, %r20, %r20}, {%r21, %r20}, {%f5, %f5, %f5, %f5};\n"
     "st.shared.f32 [%r8], %f1; //!\n"},
    {"what an atomic adds", EMU_UNINITIALISED_REGISTER, 1, 32, 0, 0, ALL, "%r20, which was never written, is an operand", 0,
     "+mov.u32 %r20, 1;\n"
     "red.global.add.u32 [%rd4], %r20; //!\n"},
    {"masks that differ", EMU_SYNC_MASK, 1, 32, 0, 0, 0xFFFF0000, "its mask is FFFF0000, that of others that take part FFFFFFFF", 0,
     "setp.lt.u32 %p1, %r2, 16;\n"
     "-selp.b32 %r20, 0xFFFFFFFF, 0xFFFF0000, %p1;\n"
     "+mov.u32 %r20, 0xFFFFFFFF;\n"
     "shfl.sync.bfly.b32 %r10, %r1, 1, 31, %r20; //!\n"},
    {"masks of sides that differ", EMU_SYNC_MASK, 1, 32, 0, 0, 0, "mask is", 0,
     "setp.lt.u32 %p1, %r2, 16; mov.u32 %r20, 0xFFFFFFFF;\n@%p1 bra on;\n"
     "-mov.u32 %r20, 0xFFFFFFF0;\n"
     "on:\nbar.warp.sync %r20; //!\n"},
    {"barrier number", EMU_BAD_OPERAND, 1, 32, 0, 0, ALL, "barrier 16", 0,
     "-mov.u32 %r10, 16;\n"
     "+mov.u32 %r10, 15;\n"
     "bar.sync %r10; //!\n"},
    {"barrier count", EMU_BAD_OPERAND, 1, 64, 0, 0, 0, "count 40", 0,
     "-mov.u32 %r10, 40;\n"
     "+mov.u32 %r10, 64;\n"
     "bar.sync 1, %r10; //!\n"},
    {"one barrier, two counts", EMU_BAD_OPERAND, 1, 64, 0, 1, ALL, "with counts", 0,
     "setp.lt.u32 %p1, %r1, 32;\n"
     "-@%p1 bar.arrive 1, 96; //!\n"
     "+@%p1 bar.arrive 1, 64;\n"
     "@!%p1 bar.arrive 1, 64; //!\n"},
    {"lanes at different barriers", EMU_BAD_OPERAND, 1, 64, 0, 0, 0xFFFFFFF0, "barrier 2 with count 0, other lanes of the warp: barrier 1", 0,
     "setp.ge.u32 %p1, %r2, 4;\n"
     "-selp.b32 %r10, 2, 1, %p1;\n"
     "+mov.u32 %r10, 1;\n"
     "bar.sync %r10; //!\n"},
    {"part of a warp arrives", EMU_BARRIER_DIVERGENT, 1, 64, 0, 0, 0xFFFF0000, "lanes 0000FFFF of the same warp do not arrive", 0,
     "setp.ge.u32 %p1, %r1, 16;\n"
     "-@%p1 bar.arrive 1, 128; //!\n"
     "+bar.arrive 1, 128;\n"},
    {"a count of warps, the last not whole", EMU_DEADLOCK, 1, 80, 0, 0, ALL, "no thread can go on", 0,
     "setp.ge.u32 %p1, %r1, 70;\n@%p1 ret;\n"
     "-bar.sync 1, 128; //!\n"
     "+bar.sync 1, 96;\n"},
    {"arrival at no mbarrier", EMU_BAD_OPERAND, 1, 1, 0, 0, 1, "no initialised mbarrier", 0,
     "st.shared.u64 [%r7], 0;\n"
     "+mbarrier.init.shared.b64 [%r7], 1;\n"
     "mbarrier.arrive.shared.b64 %rd10, [%r7]; //!\n"},
    {"more arrivals than an mbarrier waits for", EMU_BAD_OPERAND, 1, 1, 0, 0, 1, "2 arrivals", 0,
     "-mbarrier.init.shared.b64 [%r7], 1;\n"
     "+mbarrier.init.shared.b64 [%r7], 2;\n"
     "mov.u32 %r10, 2;\nmbarrier.arrive.shared.b64 %rd10, [%r7], %r10; //!\n"},
    {"an mbarrier before its initialisation is seen", EMU_RACE, 1, 64, 0, 1, 1, "an mbarrier that warp 0 lane 0 initialised", 0,
     "setp.eq.u32 %p1, %r1, 0; setp.eq.u32 %p2, %r1, 32; setp.ge.u32 %p3, %r1, 32;\n"
     "@%p1 mbarrier.init.shared.b64 [%r7], 1;\n@%p1 red.global.add.u32 [%rd1], 1;\n"
     "again:\n@%p3 atom.global.add.u32 %r10, [%rd1], 0;\nsetp.eq.and.u32 %p4, %r10, 0, %p3;\n@%p4 bra again;\n"
     "+bar.sync 0;\n"
     "@%p2 mbarrier.arrive.shared.b64 %rd10, [%r7]; //!\n"},
    {"another lane's mbarrier", EMU_RACE_LANES, 1, 32, 0, 0, 8, "an mbarrier that warp 0 lane 0 initialised", 0,
     "setp.eq.u32 %p1, %r1, 0; setp.eq.u32 %p2, %r1, 3;\n"
     "@%p1 mbarrier.init.shared.b64 [%r7], 1;\n"
     "+bar.warp.sync 0xFFFFFFFF;\n"
     "@%p2 mbarrier.arrive.shared.b64 %rd10, [%r7]; //!\n"},
    {"initialised twice", EMU_BAD_OPERAND, 1, 1, 0, 0, 1, "an mbarrier already, of warp 0 lane 0", 0,
     "mbarrier.init.shared.b64 [%r7], 1;\n"
     "+mbarrier.inval.shared.b64 [%r7];\n"
     "mbarrier.init.shared.b64 [%r7], 2; //!\n"},
    {"used after its end", EMU_BAD_OPERAND, 1, 1, 0, 0, 1, "no initialised mbarrier", 0,
     "mbarrier.init.shared.b64 [%r7], 1;\n"
     "-mbarrier.inval.shared.b64 [%r7];\n"
     "mbarrier.arrive.shared.b64 %rd10, [%r7]; //!\n"},
    {"a store into an mbarrier", EMU_BAD_OPERAND, 1, 1, 0, 0, 1, "shared byte 4 belongs to an mbarrier", 0,
     "mbarrier.init.shared.b64 [%r7], 1;\n"
     "-st.shared.u32 [%r7+4], %r1; //!\n"
     "+st.shared.u32 [%r7+8], %r1;\n"},
    {"an mbarrier's memory, read as what it was", EMU_UNINITIALISED_SHARED, 1, 1, 0, 0, 1, "shared byte 0", 0,
     "st.shared.u32 [%r7], 1;\nmbarrier.init.shared.b64 [%r7], 1;\nmbarrier.inval.shared.b64 [%r7];\n"
     "+st.shared.u32 [%r7], 1;\n"
     "ld.shared.u32 %r10, [%r7]; //!\n"},
    {"an mbarrier made where another lane reads", EMU_RACE_LANES, 1, 32, 0, 0, 8, "written here, read by lane 0", 0,
     "setp.eq.u32 %p1, %r1, 0; setp.eq.u32 %p2, %r1, 3;\n@%p2 st.shared.u64 [%r7], 0;\nbar.warp.sync 0xFFFFFFFF;\n"
     "@%p1 ld.shared.u32 %r10, [%r7];\n"
     "+bar.warp.sync 0xFFFFFFFF;\n"
     "@%p2 mbarrier.init.shared.b64 [%r7], 1; //!\n"},
    {"more bytes than an mbarrier counts", EMU_BAD_OPERAND, 1, 1, 0, 0, 1, "it counts up to 1048575", 0,
     "mbarrier.init.shared.b64 [%r7], 1;\n"
     "-mov.u32 %r10, 0x100000;\n"
     "+mov.u32 %r10, 0xFFFFF;\n"
     "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r7], %r10; //!\n"},
    {"no arrivals", EMU_BAD_OPERAND, 1, 1, 0, 0, 1, "0 arrivals", 0,
     "mbarrier.init.shared.b64 [%r7], 2;\n"
     "-mov.u32 %r10, 0;\n"
     "+mov.u32 %r10, 2;\n"
     "mbarrier.arrive.shared.b64 %rd10, [%r7], %r10; //!\n"},
};

/* The kernel of a case, and which of its lines are marked. */
static void make_text(const Case *c, bool is_broken, char *text, size_t n, bool *is_marked)
{
    memset(is_marked, 0, LINES * sizeof *is_marked);
    size_t at = (size_t)snprintf(text, n, "%s", head);
    uint32_t lines = 1;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    for (const char *p = c->body; *p;) {
        size_t length = strcspn(p, "\n");
        bool is_there = *p == '-' ? is_broken : *p == '+' ? !is_broken : true;
        if (is_there) {
            const char *from = p + (*p == '-' || *p == '+');
            assert_true(lines < LINES);
            at += (size_t)snprintf(text + at, n - at, "%.*s\n", (int)(length - (size_t)(from - p)), from);
            is_marked[lines++] = memmem(p, length, "//!", 3) != NULL;
        }
        p += length + (p[length] == '\n');
    }
    snprintf(text + at, n - at, "ret;\n}\n");
}

static unsigned complaints;

/* All cases run before the test fails. */
__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vprint_error(format, ap);
    va_end(ap);
    print_error("\n");
    complaints++;
}

static uint32_t words[WORDS] __attribute__((aligned(16)));

static void run(const Case *c, const char *text, EmuMode mode, uint64_t seed, EmuReport *report, bool *ok)
{
    Emu *emu = device("sm_120a", 1, EMU_ISA_AUTO);
    EmuModule *m = load_text(emu, text);
    EmuPtr in = upload(emu, "in", words, sizeof words), out = upload(emu, "out", NULL, sizeof words), lent;
    MUST(emu_map(emu, words, sizeof words, "lent", &lent, &err));
    EmuArg args[] = {{&in, 8}, {&out, 8}, {&lent, 8}};
    EmuLaunch l = {.func = kernel(m, "k"), .grid = {c->blocks}, .block = {c->threads}, .args = args, .args_n = 3, .mode = mode,
                   .fuel = c->fuel, .seed = seed, .races = true};
    *ok = emu_launch(emu, &l, report, &err);
    emu_module_unload(m);
    emu_free(emu);
}

static void expect(const Case *c, const EmuFinding *f, const bool *is_marked, uint64_t seed)
{
    if (f->kind != c->kind || !is_marked[f->ptx_line] || f->block != c->block || (!seed && f->warp != c->warp) ||
        (c->lanes && !seed && f->lanes != c->lanes) || !strstr(f->text, !seed ? c->says : ""))
        complain("%s, seed %d: expected \"%s\" at a marked line, block %d, warp %u, lanes %08X, saying \"%s\"; found: %s (line %u)", c->name,
                 (int)seed, emu_finding_name(c->kind), (int)c->block, c->warp, c->lanes, c->says, f->text, f->ptx_line);
}

static void each_kind_fires_and_its_twin_does_not(void **state)
{
    (void)state;
    bool ok, seen[EMU_FINDING_KINDS] = {false};
    char text[6000];
    bool is_marked[LINES];
    EmuReport report;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const Case *c = cases + i;
        seen[c->kind] = true;
        make_text(c, true, text, sizeof text, is_marked);
        /* which of two blocks is named depends on their order */
        for (uint64_t seed = 0; seed < (c->kind == EMU_RACE_BLOCKS ? 1 : SEEDS); seed++) {
            run(c, text, EMU_CHECKED, seed, &report, &ok);
            assert_true(ok);
            if (report.findings_n != 1)
                complain("%s, seed %d: %u findings, expected one: %s; %s", c->name, (int)seed, report.findings_n,
                         report.findings_n ? report.findings[0].text : "", report.findings_n > 1 ? report.findings[1].text : "");
            else
                expect(c, report.findings, is_marked, seed);
        }
        make_text(c, false, text, sizeof text, is_marked);
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            run(c, text, EMU_CHECKED, seed, &report, &ok);
            if (!ok || report.findings_n)
                complain("%s, repaired, seed %d: %s", c->name, (int)seed, report.findings_n ? report.findings[0].text : err.text);
        }
    }
    for (int k = 0; k < EMU_FINDING_KINDS; k++)
        if (!seen[k])
            complain("no case causes \"%s\"", emu_finding_name((EmuFindingKind)k));
    assert_int_equal(complaints, 0);
}

/* What faults also in fast mode: the launch fails with the sentence of the finding that checked mode gives for the lowest block. */
static void fast_mode_fails_with_the_first_fault(void **state)
{
    static const EmuFindingKind faults[] = {EMU_OUT_OF_BOUNDS, EMU_READ_ONLY, EMU_DEADLOCK, EMU_HANG, EMU_TRAP};
    (void)state;
    bool ok, is_marked[LINES];
    char text[6000];
    EmuReport report, fast;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool is_fault = false;
        for (size_t k = 0; k < sizeof faults / sizeof *faults; k++)
            is_fault |= cases[i].kind == faults[k];
        if (!is_fault)
            continue;
        make_text(cases + i, true, text, sizeof text, is_marked);
        run(cases + i, text, EMU_CHECKED, 0, &report, &ok);
        run(cases + i, text, EMU_FAST, 0, &fast, &ok);
        if (ok || err.kind != E_KERNEL)
            complain("%s: fast mode ran it", cases[i].name);
        else if (strcmp(err.text, fast.findings[0].text) != 0 || fast.findings[0].kind != report.findings[0].kind ||
                 fast.findings[0].ptx_line != report.findings[0].ptx_line || fast.findings[0].block != report.findings[0].block)
            complain("%s: fast mode says \"%s\", checked mode \"%s\"", cases[i].name, err.text, report.findings[0].text);
        make_text(cases + i, false, text, sizeof text, is_marked);
        run(cases + i, text, EMU_FAST, 0, &fast, &ok);
        if (!ok)
            complain("%s, repaired: fast mode says \"%s\"", cases[i].name, err.text);
    }
    assert_int_equal(complaints, 0);
}

static void the_lowest_block_is_named(void **state)
{
    (void)state;
    static const Case late = {.blocks = 40, .threads = 32, .body = "setp.lt.u32 %p1, %r3, 7;\n@!%p1 trap;\n"};
    bool is_marked[LINES];
    char text[6000];
    make_text(&late, true, text, sizeof text, is_marked);
    Emu *emu = device("sm_120a", 4, EMU_ISA_AUTO);
    EmuModule *m = load_text(emu, text);
    uint64_t none = 0;
    EmuArg args[] = {{&none, 8}, {&none, 8}, {&none, 8}};
    EmuLaunch l = {.func = kernel(m, "k"), .grid = {40}, .block = {32}, .args = args, .args_n = 3};
    for (int i = 0; i < 20; i++) {
        assert_false(emu_launch(emu, &l, NULL, &err));
        assert_non_null(strstr(err.text, "block (7,0,0)"));
    }
    emu_module_unload(m);
    emu_free(emu);
}

/* Neither skipped nor approximated: refused, with the line. */
static void unknown_instructions_are_refused_by_line(void **state)
{
    static const struct {
        const char *line, *names;
    } rows[] = {
        {"frobnicate.u32 %r10, %r1;", "frobnicate"}, {"add.sideways.u32 %r10, %r1, %r2;", "sideways"},
        {"tex.2d.v4.f32.s32 {%f1,%f2,%f3,%f4}, [t, {%r1,%r2}];", "tex"}, {"mov.u32 %r10, %nosuch;", "%nosuch"},
        {"wgmma.fence.sync.aligned;", "wgmma"}, {"mov.u64 %rd10, %clock64;", "clock64"}, {"mov.u64 %rd10, %globaltimer;", "globaltimer"},
        {"shfl.sync.sideways.b32 %r10, %r1, 1, 31, -1;", "sideways"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[200], text[6000], want[40];
        bool is_marked[LINES];
        snprintf(body, sizeof body, "add.u32 %%r10, %%r1, 1;\n%s //!\n", rows[i].line);
        make_text(&(Case){.body = body}, true, text, sizeof text, is_marked);
        uint32_t line = 0;
        while (line < LINES && !is_marked[line])
            line++;
        snprintf(want, sizeof want, "line %u", line);
        Emu *emu = device("sm_120a", 1, EMU_ISA_AUTO);
        EmuModule *m = emu_module_load(emu, text, strlen(text), &err);
        const EmuFunc *f = m ? emu_func(m, "k", &err) : NULL;
        if (f || (err.kind != E_UNSUPPORTED && err.kind != E_FORMAT) || !strstr(err.text, want) || !strstr(err.text, rows[i].names))
            complain("%s: expected an error with \"%s\" and \"%s\", found %s: %s", rows[i].line, want, rows[i].names,
                     f ? "none" : err_name(err.kind), f ? "" : err.text);
        emu_module_unload(m);
        emu_free(emu);
    }
    assert_int_equal(complaints, 0);
}

int main(void)
{
    for (uint32_t i = 0; i < WORDS; i++)
        words[i] = i;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_fires_and_its_twin_does_not), cmocka_unit_test(fast_mode_fails_with_the_first_fault),
        cmocka_unit_test(the_lowest_block_is_named), cmocka_unit_test(unknown_instructions_are_refused_by_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
