// Writes cases/header.….ptx: conversions as the host code of NVIDIA's headers computes them (cuda_fp16.h, cuda_bf16.h, cuda_fp8.h,
// cuda_fp4.h of CUDA 13.0). The recorded cases are what tests read; this program is only needed to record them anew:
//   g++ -std=c++17 -I CUDA/include tests/ptx/header_cases.cpp -o FILE && FILE tests/ptx/cases
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp4.h>
#include <cuda_fp8.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

static const char *folder;
static constexpr unsigned THREADS = 128;
using Values = std::vector<uint64_t>;

static uint32_t bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static float number(uint64_t u)
{
    uint32_t w = (uint32_t)u;
    float x;
    memcpy(&x, &w, 4);
    return x;
}

static std::string list(const char *kind, const char *name, unsigned width, const Values &values)
{
    char word[20];
    std::string head = "// " + std::string(kind) + " " + name + " b" + std::to_string(width) + ":\n", line = "// ";
    for (uint64_t v : values) {
        snprintf(word, sizeof word, " %llx", (unsigned long long)v);
        if (line.size() + strlen(word) > 128) {
            head += line + "\n";
            line = "// ";
        }
        line += word;
    }
    return head + line + "\n";
}

// One instruction on 128 lanes: body turns %a (and %b) into %d, registers of width bits; want is what the header says of lane i.
static void write(const char *name, const char *target, const char *body, unsigned in_width, const Values &a, const Values &b,
                  unsigned out_width, const std::function<uint64_t(size_t)> &want)
{
    Values d;
    for (size_t i = 0; i < THREADS; i++)
        d.push_back(want(i));
    auto access = [](const char *buffer, unsigned width, const std::string &text) {
        return std::string("ld.param.u64 %p, [") + buffer + "];\nmad.wide.u32 %p, %lane, " + std::to_string(width / 8) + ", %p;\n" + text + "\n";
    };
    auto load = [&](const char *buffer, const char *reg) {
        return access(buffer, in_width, "ld.global.b" + std::to_string(in_width) + " " + reg + ", [%p];");
    };
    std::string path = std::string(folder) + "/header." + name + ".ptx", in = std::to_string(in_width), out = std::to_string(out_width);
    FILE *f = fopen(path.c_str(), "w");
    if (!f)
        return perror(path.c_str());
    fprintf(f, "// header.%s: written by tests/ptx/header_cases.cpp, format in tests/ptx/README.md\n// launch: block %u\n", name, THREADS);
    fputs((list("in", "a", in_width, a) + (b.empty() ? "" : list("in", "b", in_width, b)) + list("out", "d", out_width, d)).c_str(), f);
    fprintf(f, ".version 9.0\n.target %s\n.address_size 64\n.visible .entry k(\n    .param .u64 a,\n%s    .param .u64 d)\n{\n", target,
            b.empty() ? "" : "    .param .u64 b,\n");
    fprintf(f, ".reg .b64 %%p;\n.reg .b32 %%lane;\n.reg .b%s %%a, %%b;\n.reg .b%s %%d;\nmov.u32 %%lane, %%tid.x;\n", in.c_str(), out.c_str());
    fputs((load("a", "%a") + (b.empty() ? "" : load("b", "%b")) + body + "\n" + access("d", out_width, "st.global.b" + out + " [%p], %d;")).c_str(), f);
    fputs("ret;\n}\n", f);
    fclose(f);
}

static uint32_t random_word()
{
    static uint64_t x = 20;
    x = x * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(x >> 32);
}

// 128 floats: what every format has to get right, and then ties, near ties and others around a format with man bits of mantissa
// and exponents low … high.
static Values floats(int man, int low, int high, bool has_nan)
{
    Values v = {0, 0x80000000, 1, 0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x3F800000, 0xBF800000};
    if (has_nan)
        v.insert(v.end(), {0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FFFFFFF});
    while (v.size() < THREADS) {
        uint32_t r = random_word(), exponent = (uint32_t)(127 + low + (int)(random_word() % (uint32_t)(high - low + 1)));
        uint32_t tie = 1u << (22 - man), kept = r & 0x7FFFFF & ~(2 * tie - 1);
        uint32_t u = (r & 0x80000000) | exponent << 23 | kept;
        switch (v.size() % 4) {
        case 0: u |= tie; break;
        case 1: u = (u | tie) + 1; break;
        case 2: u = (u | tie) - 1; break;
        default: u |= r & 0x7FFFFF;
        }
        v.push_back(u);
    }
    return v;
}

static Values turned(Values v)
{
    Values w;
    for (size_t i = 0; i < v.size(); i++)
        w.push_back(v[(i * 37 + 11) % v.size()]);
    return w;
}

static Values counting(unsigned from)
{
    Values v;
    for (unsigned i = 0; i < THREADS; i++)
        v.push_back((from + 2 * i) | (from + 2 * i + 1) << 8);
    return v;
}

static void fp8(const char *name, __nv_fp8_interpretation_t kind, int man, int low, int high)
{
    std::string x2 = std::string(name) + "x2", body = "cvt.rn.satfinite." + x2 + ".f32 %d, %a, %b;";
    Values a = floats(man, low, high, true), b = turned(a);
    write((x2 + ".f32").c_str(), "sm_89", body.c_str(), 32, a, b, 16,
          [&](size_t i) { return __nv_cvt_float2_to_fp8x2(float2{number(b[i]), number(a[i])}, __NV_SATFINITE, kind); });
    Values codes = counting(0), h;
    for (size_t i = 0; i < THREADS; i++) /* no NaN: its bits are the header's own */
        codes[i] = (codes[i] & 0x7F) > (man == 3 ? 0x7Eu : 0x7Cu) || (codes[i] >> 8 & 0x7F) > (man == 3 ? 0x7Eu : 0x7Cu) ? 0x3C38 : codes[i];
    body = "cvt.rn.f16x2." + x2 + " %d, %a;";
    write(("f16x2." + x2).c_str(), "sm_89", body.c_str(), 16, codes, {}, 32, [&](size_t i) {
        __half2_raw r = __nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t)codes[i], kind);
        return (uint64_t)r.y << 16 | r.x;
    });
    for (size_t i = 0; i < THREADS; i++)
        h.push_back(i < 8 ? (Values{0x80000000, 0x00018001, 0x7C00FC00, 0x7BFFFBFF, 0x04000200, 0x5F7F5F80, 0x5F005EFF, 0x3C003C01})[i] : random_word());
    for (uint64_t &u : h) /* half of the words near the format's range */
        u = random_word() & 1 ? u & 0xDFFFDFFF : u;
    body = "cvt.rn.satfinite." + x2 + ".f16x2 %d, %a;";
    write((x2 + ".f16x2").c_str(), "sm_89", body.c_str(), 32, h, {}, 16, [&](size_t i) {
        return __nv_cvt_halfraw2_to_fp8x2(__half2_raw{(unsigned short)h[i], (unsigned short)(h[i] >> 16)}, __NV_SATFINITE, kind);
    });
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 64;
    folder = argv[1];
    fp8("e4m3", __NV_E4M3, 3, -11, 9);
    fp8("e5m2", __NV_E5M2, 2, -18, 16);
    Values a = floats(1, -3, 3, true), b = turned(a), bytes = counting(0);
    write("e2m1x2.f32", "sm_120a", "{ .reg .b8 t; cvt.rn.satfinite.e2m1x2.f32 t, %a, %b; cvt.u16.u8 %d, t; }", 32, a, b, 16,
          [&](size_t i) { return __nv_cvt_float2_to_fp4x2(float2{number(b[i]), number(a[i])}, __NV_E2M1, cudaRoundNearest); });
    write("f16x2.e2m1x2", "sm_120a", "{ .reg .b8 t, u; mov.b16 {t, u}, %a; cvt.rn.f16x2.e2m1x2 %d, t; }", 16, bytes, {}, 32, [&](size_t i) {
        __half2_raw r = __nv_cvt_fp4x2_to_halfraw2((__nv_fp4x2_storage_t)(bytes[i] & 255), __NV_E2M1);
        return (uint64_t)r.y << 16 | r.x;
    });
    a = floats(0, -126, 127, true);
    b = turned(a);
    for (bool up : {false, true})
        write(up ? "ue8m0x2.f32.rp" : "ue8m0x2.f32.rz", "sm_120a",
              up ? "cvt.rp.satfinite.ue8m0x2.f32 %d, %a, %b;" : "cvt.rz.satfinite.ue8m0x2.f32 %d, %a, %b;", 32, a, b, 16, [&](size_t i) {
            return __nv_cvt_float2_to_e8m0x2(float2{number(b[i]), number(a[i])}, __NV_SATFINITE, up ? cudaRoundPosInf : cudaRoundZero);
        });
    Values scales = counting(0);
    write("bf16x2.ue8m0x2", "sm_120a", "cvt.rn.bf16x2.ue8m0x2 %d, %a;", 16, scales, {}, 32, [&](size_t i) {
        __nv_bfloat162_raw r = __nv_cvt_e8m0x2_to_bf162raw((__nv_fp8x2_storage_t)scales[i]);
        return (uint64_t)r.y << 16 | r.x;
    });
    a = floats(10, -26, 17, false);
    b = floats(7, -127, 126, false);
    write("f16.f32", "sm_80", "cvt.rn.f16.f32 %d, %a;", 32, a, {}, 16, [&](size_t i) { return __half_raw(__float2half_rn(number(a[i]))).x; });
    write("f16.f32.rz", "sm_80", "cvt.rz.f16.f32 %d, %a;", 32, a, {}, 16, [&](size_t i) { return __half_raw(__float2half_rz(number(a[i]))).x; });
    write("bf16.f32", "sm_80", "cvt.rn.bf16.f32 %d, %a;", 32, b, {}, 16,
          [&](size_t i) { return __nv_bfloat16_raw(__float2bfloat16_rn(number(b[i]))).x; });
    write("bf16.f32.rz", "sm_80", "cvt.rz.bf16.f32 %d, %a;", 32, b, {}, 16,
          [&](size_t i) { return __nv_bfloat16_raw(__float2bfloat16_rz(number(b[i]))).x; });
    write("bf16x2.f32", "sm_80", "cvt.rn.bf16x2.f32 %d, %a, %b;", 32, a, b, 32, [&](size_t i) {
        __nv_bfloat162_raw r = __floats2bfloat162_rn(number(b[i]), number(a[i]));
        return (uint64_t)r.y << 16 | r.x;
    });
    write("f16x2.f32", "sm_80", "cvt.rn.f16x2.f32 %d, %a, %b;", 32, a, b, 32, [&](size_t i) {
        __half2_raw r = __floats2half2_rn(number(b[i]), number(a[i]));
        return (uint64_t)r.y << 16 | r.x;
    });
    Values halves;
    for (unsigned i = 0; i < THREADS; i++)
        halves.push_back(i * 0x1F7 & 0xFBFF);
    for (uint64_t &h : halves) /* no NaN, as above */
        h = (h & 0x7FFF) > 0x7C00 ? h & 0x83FF : h;
    write("f32.f16", "sm_80", "cvt.f32.f16 %d, %a;", 16, halves, {}, 32,
          [&](size_t i) { return bits(__half2float(__half(__half_raw{(unsigned short)halves[i]}))); });
    write("s32.f16", "sm_80", "cvt.rzi.s32.f16 %d, %a;", 16, halves, {}, 32,
          [&](size_t i) { return (uint32_t)__half2int_rz(__half(__half_raw{(unsigned short)halves[i]})); });
    return 0;
}
