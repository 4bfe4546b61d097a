#!/usr/bin/env python3
"""Writes cases/<mnemonic>….ptx: kernels with their inputs and expected memory in the head comment (README.md has the format).
Expected values come from the definitions below alone: whole numbers and exact fractions, rounded by a search of nothing but
the format's own steps. usage: make_cases.py FOLDER"""
import functools, math, os, re, struct, sys
from fractions import Fraction

folder = sys.argv[1]
M8, M16, M32, M64 = (1 << 8) - 1, (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1

# ---- floats as exact fractions -------------------------------------------------------------------------------------------
FORMATS = {"f16": (5, 10), "bf16": (8, 7), "f32": (8, 23), "f64": (11, 52), "e4m3": (4, 3), "e5m2": (5, 2)}

def decode(bits, fmt):
    e, m = FORMATS[fmt]
    sign, ex, man = bits >> (e + m), bits >> m & ((1 << e) - 1), bits & ((1 << m) - 1)
    bias = (1 << (e - 1)) - 1
    if ex == (1 << e) - 1 and not (fmt == "e4m3" and man != 7):
        return math.nan if man else (-math.inf if sign else math.inf)
    x = Fraction(man, 1 << m) * Fraction(2) ** (1 - bias) if ex == 0 else (1 + Fraction(man, 1 << m)) * Fraction(2) ** (ex - bias)
    return (x, sign)                         # zero keeps its sign

def value(d):
    return d[0] * (-1 if d[1] else 1) if isinstance(d, tuple) else d

def encode(x, fmt, mode="rn", sign=None, satfinite=False):
    """x: Fraction, or a float that is nan or infinite; None stands for NaN in the result."""
    e, m = FORMATS[fmt]
    bias, top = (1 << (e - 1)) - 1, (1 << e) - 1
    if isinstance(x, float) and math.isnan(x):
        return None
    if sign is None:
        sign = x < 0
    s = int(sign) << (e + m)
    largest = (top << m | 6) if fmt == "e4m3" else (top - 1) << m | ((1 << m) - 1)
    infinite = largest if satfinite else top << m
    if isinstance(x, float):
        return s | infinite
    a = abs(x)
    if a == 0:
        return s
    ex = max(math.floor(math.log2(a.numerator) - math.log2(a.denominator)) if a else 0, 1 - bias)
    while Fraction(2) ** ex > a and ex > 1 - bias: ex -= 1
    while Fraction(2) ** (ex + 1) <= a: ex += 1
    step = Fraction(2) ** (ex - m)
    q = a / step
    n = q.numerator // q.denominator
    rest = q - n
    up = {"rn": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and n & 1), "rz": False, "rna": rest >= Fraction(1, 2),
          "rm": sign and rest > 0, "rp": not sign and rest > 0}[mode]
    n += up
    code = n + ((ex + bias - 1) << m) if n >= (1 << m) else n     # subnormals have exponent field 0
    if code > largest:
        outward = mode in ("rn", "rna") or (mode == "rm" and sign) or (mode == "rp" and not sign)
        return s | (infinite if outward else largest)
    return s | code

def f32(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]

def isnan(d): return isinstance(d, float) and math.isnan(d)

def arith(fmt, op, mode="rn", ftz=False, sat=False):
    """A lane function on bit patterns; IEEE special cases by hand."""
    width = sum(FORMATS[fmt]) + 1
    def flush(b):
        e, m = FORMATS[fmt]
        return b & 1 << (width - 1) if ftz and b >> m & ((1 << e) - 1) == 0 else b
    def lane(*bits):
        d = [decode(flush(b), fmt) for b in bits]
        r = op(d, mode)
        if isinstance(r, tuple):             # (value, sign of an exact zero)
            out = encode(r[0], fmt, mode, sign=r[1] if r[0] == 0 else None)
        else:
            out = encode(r, fmt, mode)
        if out is not None: out = flush(out)
        if sat:
            if out is None: return 0
            v = value(decode(out, fmt))
            return encode(Fraction(0), fmt) if v <= 0 else encode(Fraction(1), fmt) if v >= 1 else out
        return out
    return lane

def sgn(d): return d[1] if isinstance(d, tuple) else int(d < 0)

def op_add(d, mode):
    a, b = d
    if isnan(a) or isnan(b): return math.nan
    va, vb = value(a), value(b)
    if isinstance(va, float) or isinstance(vb, float):
        if isinstance(va, float) and isinstance(vb, float) and va != vb: return math.nan
        return va if isinstance(va, float) else vb
    if va == 0 and vb == 0 and a[1] == b[1]: return (Fraction(0), a[1])
    return (va + vb, 1 if mode == "rm" else 0)

def neg(d): return (d[0], d[1] ^ 1) if isinstance(d, tuple) else -d
def op_sub(d, mode): return op_add([d[0], neg(d[1])], mode)

def op_mul(d, mode):
    a, b = d
    if isnan(a) or isnan(b): return math.nan
    s = sgn(a) ^ sgn(b)
    va, vb = value(a), value(b)
    if isinstance(va, float) or isinstance(vb, float):
        return math.nan if va == 0 or vb == 0 else (-math.inf if s else math.inf)
    return (va * vb, s)

def op_fma(d, mode):
    p = op_mul(d[:2], mode)
    if isinstance(p, tuple):
        c = d[2]
        if isnan(c): return math.nan
        vc = value(c)
        if isinstance(vc, float): return vc
        if p[0] == 0 and vc == 0: return (Fraction(0), p[1] if p[1] == c[1] else (1 if mode == "rm" else 0))
        return (p[0] + vc, 1 if mode == "rm" else 0)
    return op_add([p, d[2]], mode) if not (isinstance(p, float) and math.isnan(p)) else p

def op_div(d, mode):
    a, b = d
    if isnan(a) or isnan(b): return math.nan
    s = sgn(a) ^ sgn(b)
    va, vb = value(a), value(b)
    if isinstance(va, float): return math.nan if isinstance(vb, float) else (-math.inf if s else math.inf)
    if isinstance(vb, float): return (Fraction(0), s)
    if vb == 0: return math.nan if va == 0 else (-math.inf if s else math.inf)
    return (va / vb, s)

def op_rcp(d, mode): return op_div([(Fraction(1), 0), d[0]], mode)

def op_sqrt(d, mode):
    a = d[0]
    if isnan(a): return math.nan
    v = value(a)
    if v == 0: return a
    if v < 0: return math.nan
    if isinstance(v, float): return v
    scale = 1 << 2400                         # 1200 bits behind the point, and a sticky bit: right for every rounding
    n = math.isqrt((v * scale).numerator // (v * scale).denominator)
    exact = Fraction(n * n) == v * scale
    return (Fraction(2 * n + (not exact), 1 << 1201), 0)

def minmax(fmt, largest, nan=False, ftz=False):
    def lane(a, b):
        e, m = FORMATS[fmt]
        top = 1 << (e + m)
        if ftz: a, b = [x & top if x >> m & ((1 << e) - 1) == 0 else x for x in (a, b)]
        da, db = decode(a, fmt), decode(b, fmt)
        if isnan(da) or isnan(db):
            if nan or (isnan(da) and isnan(db)): return None
            return b if isnan(da) else a
        ka, kb = (value(da), -sgn(da)), (value(db), -sgn(db))
        return (a if ka >= kb else b) if largest else (a if ka <= kb else b)
    return lane

# ---- inputs ---------------------------------------------------------------------------------------------------------------
U32 = [0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 255, 256, 0x7fff, 0x8000, 0xffff, 0x10000, 0x12345678, 0x7fffffff, 0x80000000,
       0x80000001, 0xfffffffe, 0xffffffff, 0xdeadbeef, 0xcafebabe, 0x00ff00ff, 0x55555555, 0xaaaaaaaa, 100, 1000]
U16 = [0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 127, 128, 129, 255, 256, 257, 0x7ff, 0x1234, 0x5555, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xaaaa, 0xff00,
       0xff7f, 0xff80, 0xffef, 0xfffd, 0xfffe, 0xffff, 1000]
U64 = [0, 1, 2, 7, 63, 64, 65, 255, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x123456789abcdef0, 0x7fffffffffffffff,
       0x8000000000000000, 0x8000000000000001, 0xffffffffffffffff, 0xfffffffffffffffe, 0xffffffff00000000, 0xdeadbeefcafebabe,
       0x00ff00ff00ff00ff, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 1000, 10**12, 10**18, 3, 5, 0xffffffff80000000, 0x40, 0x8040201008040201]
F32 = [0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x3f000000, 0x40490fdb, 0xc0490fdb, 0x7f800000, 0xff800000, 0x7fc00000, 0x00000001,
       0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x3f800001, 0x3f7fffff, 0x4b000000, 0x4b000001, 0xcb800001, 0x3eaaaaab,
       0x41200000, 0x42c80000, 0x38800000, 0x387fc000, 0x477fefff, 0x477ff000, 0x43e80000, 0x40a00000, 0x3e800000, 0x7f000000]
F64 = [struct.unpack("<Q", struct.pack("<d", x))[0] for x in
       [0.0, -0.0, 1.0, -1.0, 0.5, math.pi, -math.pi, math.inf, -math.inf, 5e-324, 2.2e-308, 1.7976931348623157e308, -1.7976931348623157e308,
        1e-300, 1e300, 3.0, 10.0, 1 / 3, 2 / 3, 1.0000000000000002, 65504.0, 65520.0, 448.0, 464.0, 2147483647.0, -2147483648.5, 4294967295.5,
        9.3e18, 0.25, 2.5, -2.5]] + [0x7ff8000000000000]
F16 = [0x0000, 0x8000, 0x3c00, 0xbc00, 0x3800, 0x4248, 0xc248, 0x7c00, 0xfc00, 0x7e00, 0x0001, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x3c01,
       0x3bff, 0x6400, 0x6401, 0x3555, 0x4900, 0x5640, 0x0200, 0x1400, 0x7000, 0x5c80, 0x4500, 0x3400, 0x07ff, 0x9234, 0x6bff]
BF16 = [0x0000, 0x8000, 0x3f80, 0xbf80, 0x3f00, 0x4049, 0xc049, 0x7f80, 0xff80, 0x7fc0, 0x0001, 0x8001, 0x007f, 0x0080, 0x7f7f, 0xff7f, 0x3f81,
        0x3f7f, 0x4b00, 0x4b01, 0x3eab, 0x4120, 0x42c8, 0x3880, 0x477f, 0x43e8, 0x40a0, 0x3e80, 0x7f00, 0xc234, 0x1234, 0x0100]

def rot(v, k): return v[k:] + v[:k]
INPUT = {"u16": U16, "s16": U16, "b16": U16, "u32": U32, "s32": U32, "b32": U32, "u64": U64, "s64": U64, "b64": U64,
         "f32": F32, "f64": F64, "f16": F16, "bf16": BF16}
WIDTH = {"u8": 8, "s8": 8, "u16": 16, "s16": 16, "b16": 16, "f16": 16, "bf16": 16, "u32": 32, "s32": 32, "b32": 32, "f32": 32, "u64": 64,
         "s64": 64, "b64": 64, "f64": 64, "f16x2": 32, "bf16x2": 32, "pred": 0}
def signed(x, t):
    w = WIDTH[t]
    return x - (1 << w) if t[0] == "s" and x >> (w - 1) & 1 else x
def mask(t): return (1 << WIDTH[t]) - 1

# ---- files ----------------------------------------------------------------------------------------------------------------
# The first architecture that has an instruction, by what its text holds; the first row that fits. Everything else is sm_80's.
NEEDS = [(120, r"kind::|e2m1|ue8m0|setmaxnreg"), (100, r"f32x2|\.v8\.b32"),
         (90, r"\b(add|sub|mul)\S*\.bf16|\b(min|max)\.NaN\.bf16x|(atom|red)\S*\.bf16x2|(ex2|tanh)\S*bf16|setp\S*\.bf16|cvt\.rn\.tf32|cvt\S*\.([us]\d+|f64)\.bf16\b|"
              r"cvt\S*\.bf16\.(f64|[us]\d+)|stmatrix|elect\.|griddepcontrol|try_wait|expect_tx|bulk|fence\.(proxy|mbarrier)|cluster"),
         (89, r"e4m3|e5m2")]
def needs(line): return next((arch for arch, what in NEEDS if re.search(what, line)), 80)
KEEP = {"lo", "hi", "wide", "approx", "full", "sat", "global", "shared"}
TYPE = re.compile(r"[usbf]\d+(x2)?|bf16(x2)?|tf32|e\dm\dx2|ue8m0x2|pred")
def group(opcode):
    """The file of an instruction: mnemonic and types, and what makes it another operation."""
    parts = opcode.split(".")
    return ".".join(parts[:1] + [p for p in parts[1:] if p in KEEP or TYPE.fullmatch(p)])

class Case:
    all = {}
    def __new__(cls, name):
        if name in cls.all: return cls.all[name]
        self = object.__new__(cls)
        self.name, self.params, self.lines, self.outs, self.n, self.extra, self.block = name, [], [], 0, 0, {}, 32
        cls.all[name] = self
        return self
    def buffer(self, kind, width, values, ulp=0):
        for p in self.params:
            if kind == "in" and p[1:4] == ("in", width, tuple(values)): return p[0]
        name = f"{kind}{len(self.params)}"
        self.params.append((name, kind, width, tuple(values), ulp))
        return name
    def reg(self, width):
        self.n += 1
        return {0: "%p", 16: "%h", 32: "%r", 64: "%d"}[width] + str(self.n)
    def load(self, width, values):
        """A register that holds values[lane]."""
        name, r = self.buffer("in", width, values), self.reg(width)
        self.lines += [f"ld.param.u64 %d0, [{name}];", f"mad.wide.u32 %d0, %lane, {width // 8}, %d0;", f"ld.global.b{width} {r}, [%d0];"]
        return r
    def store(self, width, reg, values, ulp=0, near=0, **also):
        """near: an exponent, with also["sum"]; lists of also follow the values in the head."""
        name = self.buffer("out", width, values, ulp)
        self.extra[name] = near, also
        self.lines += [f"ld.param.u64 %d0, [{name}];", f"mad.wide.u32 %d0, %lane, {width // 8}, %d0;", f"st.global.b{width} [%d0], {reg};"]
    def op(self, opcode, out, ins, fn, text=None, ulp=0):
        """opcode d, sources; ins: (width, values) each, or a string put there as it is; fn on lanes' bits. Goes to group's file."""
        if self.name != group(opcode): return Case(group(opcode)).op(opcode, out, ins, fn, text, ulp)
        sources = [i if isinstance(i, str) else self.load(*i) for i in ins]
        lists = [i[1] for i in ins if not isinstance(i, str)]
        width = WIDTH.get(out, out) if isinstance(out, str) else out
        want = [fn(*[v[l] for v in lists]) for l in range(32)]
        d = self.reg(width)
        self.lines.append((text or "{op} {d}, {s};").format(op=opcode, d=d, s=", ".join(sources)))
        if width == 0:
            r = self.reg(32)
            self.lines.append(f"selp.b32 {r}, 1, 0, {d};")
            self.store(32, r, [int(w) for w in want])
        else:
            self.store(width, d, want, ulp)
    def write(self):
        head = [f"// {self.name}: written by tests/ptx/make_cases.py, format in tests/ptx/README.md", f"// launch: block {self.block}"]
        for name, kind, width, values, ulp in self.params:
            near, also = self.extra.get(name, (0, {}))
            bound = f" ulp {ulp}" if ulp else f" near {near}" if near else ""
            for title, list_ in [(f"{kind} {name} b{width}{bound}", values)] + [(f"{k} {name} b{width}", v) for k, v in also.items()]:
                head.append(f"// {title}:")
                text = ["nan" if v is None else f"{v:x}" for v in list_]
                line = "// "
                for word in text:
                    if len(line) + len(word) > 128:
                        head.append(line)
                        line = "// "
                    line += " " + word
                head.append(line)
        regs = "".join(f".reg .{t} {p}<{self.n + 1}>;\n" for p, t in (("%p", "pred"), ("%h", "b16"), ("%r", "b32"), ("%d", "b64")))
        params = ",\n".join(f"    .param .u64 {p[0]}" for p in self.params)
        target = max(needs(part) for line in self.lines for part in line.split(";"))
        body = "\n".join(line.replace("; ", ";\n").replace("}, {", "},\n    {") if len(line) > 120 else line for line in self.lines)
        with open(os.path.join(folder, self.name + ".ptx"), "w") as f:
            f.write("\n".join(head) + f"\n.version 9.0\n.target sm_{target}{'a' * (target == 120)}\n.address_size 64\n.visible .entry k(\n{params})\n{{\n{regs}"
                    f".reg .b32 %lane;\nmov.u32 %lane, %tid.x;\n{body}\nret;\n}}\n")

def ints(types): return types.split()
def three(t): return [(WIDTH[t], rot(INPUT[t], k)) for k in (0, 11, 5)]

def int_op(name, opcode, t, n, fn, out=None):
    o = out or t
    Case(name).op(f"{opcode}.{t}", WIDTH[o], three(t)[:n], lambda *v: fn(*[signed(x, t) for x in v]) & mask(o))

ALL = "u16 s16 u32 s32 u64 s64"
double = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}
def quotient(a, b, t): return mask(t) if b == 0 else int(abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)
def remainder(a, b, t): return -1 if b == 0 else a - b * quotient(a, b, t)   # by zero: unspecified; as sm_90 has it
for t in ints(ALL):
    w = WIDTH[t]
    int_op("add", "add", t, 2, lambda a, b: a + b)
    int_op("sub", "sub", t, 2, lambda a, b: a - b)
    int_op("mul", "mul.lo", t, 2, lambda a, b: a * b)
    int_op("mul", "mul.hi", t, 2, lambda a, b, w=w: a * b >> w)
    int_op("mad", "mad.lo", t, 3, lambda a, b, c: a * b + c)
    int_op("div", "div", t, 2, lambda a, b, t=t: quotient(a, b, t))
    int_op("rem", "rem", t, 2, lambda a, b, t=t: remainder(a, b, t))
    int_op("min", "min", t, 2, min)
    int_op("max", "max", t, 2, max)
    if w > 16: int_op("mad", "mad.hi", t, 3, lambda a, b, c, w=w: (a * b >> w) + c)
    if t in double:
        d = double[t]
        int_op("mul", "mul.wide", t, 2, lambda a, b: a * b, d)
        Case("mad").op(f"mad.wide.{t}", WIDTH[d], three(t)[:2] + [(WIDTH[d], rot(INPUT[d], 3))],
                       lambda a, b, c, t=t, d=d: (signed(a, t) * signed(b, t) + c) & mask(d))
        int_op("sad", "sad", t, 3, lambda a, b, c: abs(a - b) + c)
    if t[0] == "s":
        int_op("neg", "neg", t, 1, lambda a: -a)
        int_op("abs", "abs", t, 1, abs)
clamp = lambda x, lo, hi: max(lo, min(hi, x))
int_op("add", "add.sat", "s32", 2, lambda a, b: clamp(a + b, -2**31, 2**31 - 1))
int_op("sub", "sub.sat", "s32", 2, lambda a, b: clamp(a - b, -2**31, 2**31 - 1))
for t in ("b16", "b32", "b64"):
    w = WIDTH[t]
    int_op("and", "and", t, 2, lambda a, b: a & b)
    int_op("or", "or", t, 2, lambda a, b: a | b)
    int_op("xor", "xor", t, 2, lambda a, b: a ^ b)
    int_op("not", "not", t, 1, lambda a: ~a)
    int_op("cnot", "cnot", t, 1, lambda a: int(a == 0))
    amounts = [i * 3 % 70 for i in range(30)] + [0xffffffff, 256]
    Case("shl").op(f"shl.{t}", w, [(w, INPUT[t]), (32, amounts)], lambda a, n, w=w: a << n & ((1 << w) - 1) if n < w else 0)
    for kind in "bus":
        s = kind + t[1:]
        Case("shr").op(f"shr.{s}", w, [(w, INPUT[t]), (32, amounts)],
                       lambda a, n, s=s, w=w: signed(a, s) >> min(n, w) & ((1 << w) - 1))
for t in ("b32", "b64"):
    w = WIDTH[t]
    Case("popc").op(f"popc.{t}", 32, [(w, INPUT[t])], lambda a: bin(a).count("1"))
    Case("clz").op(f"clz.{t}", 32, [(w, INPUT[t])], lambda a, w=w: w - a.bit_length())
    Case("brev").op(f"brev.{t}", w, [(w, INPUT[t])], lambda a, w=w: int(f"{a:0{w}b}"[::-1], 2))
    # places beyond 255 only where hardware takes their lowest byte, too
    at, n = [i * 5 % 67 for i in range(31)] + [300 if w == 32 else 44], [i * 7 % 66 for i in range(31)] + [3]
    def bfi(a, b, p, n, w=w):
        p, n = p & 255, n & 255
        m = ((1 << n) - 1) << p & ((1 << w) - 1) if p < w else 0
        return (a << p & m | b & ~m) & ((1 << w) - 1)
    Case("bfi").op(f"bfi.{t}", w, [(w, INPUT[t]), (w, rot(INPUT[t], 9)), (32, at), (32, n)], bfi)
    for kind in "us":
        s = kind + t[1:]
        def bfe(a, p, n, w=w, s=s):
            p, n = p & 255, n & 255
            if n == 0: return 0
            sign = a >> min(p + n - 1, w - 1) & 1 if s[0] == "s" else 0
            return sum((a >> p + i & 1 if i < n and p + i < w else sign) << i for i in range(w))
        Case("bfe").op(f"bfe.{s}", w, [(w, INPUT[t]), (32, at), (32, n)], bfe)
        def bfind(a, w=w, s=s):
            if s[0] == "s" and a >> (w - 1): a ^= (1 << w) - 1
            return a.bit_length() - 1 & M32
        Case("bfind").op(f"bfind.{s}", 32, [(w, INPUT[t])], bfind)
        Case("bfind").op(f"bfind.shiftamt.{s}", 32, [(w, INPUT[t])], lambda a, f=bfind, w=w: M32 if f(a) == M32 else w - 1 - f(a))
sh = [i * 3 % 40 for i in range(31)] + [0xffffffff]
for m in ("clamp", "wrap"):
    k = (lambda c: min(c, 32)) if m == "clamp" else (lambda c: c & 31)
    Case("shf").op(f"shf.l.{m}.b32", 32, three("b32")[:2] + [(32, sh)], lambda a, b, c, k=k: (b << 32 | a) << k(c) >> 32 & M32)
    Case("shf").op(f"shf.r.{m}.b32", 32, three("b32")[:2] + [(32, sh)], lambda a, b, c, k=k: (b << 32 | a) >> k(c) & M32)
def prmt(a, b, sel):
    bytes_, out = [(b << 32 | a) >> 8 * i & 255 for i in range(8)], 0
    for i in range(4):
        n = sel >> 4 * i & 15
        out |= ((255 if bytes_[n & 7] & 128 else 0) if n & 8 else bytes_[n & 7]) << 8 * i
    return out
sel = [0x3210, 0x7654, 0x0000, 0x4321, 0x5140, 0xfedc, 0x8888, 0x89ab] * 4
Case("prmt").op("prmt.b32", 32, [(32, rot(U32, 19)), (32, rot(U32, 4)), (32, sel)], prmt)
MODES = {"f4e": ["3210", "4321", "5432", "6543"], "b4e": ["5670", "6701", "7012", "0123"], "rc8": ["0000", "1111", "2222", "3333"],
         "ecl": ["3210", "3211", "3222", "3333"], "ecr": ["0000", "1110", "2210", "3210"], "rc16": ["1010", "3232", "1010", "3232"]}
for m, rows in MODES.items():
    Case("prmt").op(f"prmt.b32.{m}", 32, [(32, rot(U32, 19)), (32, rot(U32, 4)), (32, list(range(32)))],
                    lambda a, b, c, rows=rows: prmt(a, b, int(rows[c & 3], 16)))
for table in (0x80, 0x96, 0xea, 0xd8, 0x01):
    Case("lop3").op("lop3.b32", 32, three("b32") + [str(table)],
                    lambda a, b, c, t=table: sum((t >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1) << i for i in range(32)))
def part(x, i, w, s):
    v = x >> w * i & ((1 << w) - 1)
    return v - (1 << w) if s and v >> (w - 1) else v
for ta in "us":
    for tb in "us":
        Case("dp4a").op(f"dp4a.{ta}32.{tb}32", 32, three("b32"), lambda a, b, c, ta=ta, tb=tb:
                        c + sum(part(a, i, 8, ta == "s") * part(b, i, 8, tb == "s") for i in range(4)) & M32)
        for half, k in (("lo", 0), ("hi", 2)):
            Case("dp2a").op(f"dp2a.{half}.{ta}32.{tb}32", 32, three("b32"), lambda a, b, c, ta=ta, tb=tb, k=k:
                            c + sum(part(a, i, 16, ta == "s") * part(b, k + i, 8, tb == "s") for i in range(2)) & M32)

# floats
def pack(fn):                                   # a function of halves on pairs
    def lane(*v):
        lo, hi = fn(*[x & M16 for x in v]), fn(*[x >> 16 for x in v])
        return None if lo is None or hi is None else hi << 16 | lo
    return lane
def no_nan(v, fmt): return [0x3c00 if fmt == "f16" and x == 0x7e00 or fmt == "bf16" and x == 0x7fc0 else x for x in v]
def no_odd(v, fmt):                             # pairs without NaN: their results must not be NaN in one half only
    return [0x3c00 if isnan(decode(x, fmt)) or value(decode(x, fmt)) in (math.inf, -math.inf) else x for x in v]
TWO = {"add": op_add, "sub": op_sub, "mul": op_mul}
for name, op in TWO.items():
    for rnd in ("", ".rn", ".rz", ".rm", ".rp"):
        Case(name).op(f"{name}{rnd}.f32", 32, three("f32")[:2], arith("f32", op, rnd[1:] or "rn"))
    for mods in (".ftz", ".sat", ".ftz.sat"):
        Case(name).op(f"{name}{mods}.f32", 32, three("f32")[:2], arith("f32", op, ftz="ftz" in mods, sat="sat" in mods))
    for rnd in ("", ".rz"):
        Case(name).op(f"{name}{rnd}.f64", 64, three("f64")[:2], arith("f64", op, rnd[1:] or "rn"))
    for h in ("f16", "bf16"):
        Case(name).op(f"{name}.rn.{h}", 16, three(h)[:2], arith(h, op))
        v = no_odd(INPUT[h], h)
        pairs = [(32, [a | b << 16 for a, b in zip(rot(v, k), rot(v, k + 7))]) for k in (0, 11, 5)]
        Case(name).op(f"{name}.rn.{h}x2", 32, pairs[:2], pack(arith(h, op)))
for rnd in ("rn", "rz", "rm", "rp"):
    Case("fma").op(f"fma.{rnd}.f32", 32, three("f32"), arith("f32", op_fma, rnd))
    Case("fma").op(f"fma.{rnd}.f64", 64, three("f64"), arith("f64", op_fma, rnd))
for mods in (".ftz", ".sat", ".ftz.sat"):
    Case("fma").op(f"fma.rn{mods}.f32", 32, three("f32"), arith("f32", op_fma, ftz="ftz" in mods, sat="sat" in mods))
# ties and near ties of the product, where two roundings would go wrong
hard16 = [0x3c01, 0x3c03, 0x3bff, 0x0401, 0x2c01, 0x7001, 0x5555, 0x4801] * 4
hardc = [0x0001, 0x8001, 0x1001, 0x9400, 0x0002, 0x8400, 0x3c00, 0x03ff, 0xbc00, 0x7bff] * 4
for h in ("f16", "bf16"):
    Case("fma").op(f"fma.rn.{h}", 16, three(h), arith(h, op_fma))
    Case("fma").op(f"fma.rn.{h}", 16, [(16, hard16), (16, rot(hard16, 3)), (16, hardc[:32])], arith(h, op_fma))
    v = no_odd(INPUT[h], h)
    pairs = [(32, [a | b << 16 for a, b in zip(rot(v, k), rot(v, k + 7))]) for k in (0, 11, 5)]
    Case("fma").op(f"fma.rn.{h}x2", 32, pairs, pack(arith(h, op_fma)))
    def relu(*b, f=arith(h, op_fma), h=h):
        r = f(*b)
        return None if r is None else 0 if r >> 15 else r
    Case("fma").op(f"fma.rn.relu.{h}", 16, three(h), relu)
    for name in ("min", "max"):
        Case(name).op(f"{name}.{h}", 16, three(h)[:2], minmax(h, name == "max"))
        Case(name).op(f"{name}.NaN.{h}", 16, three(h)[:2], minmax(h, name == "max", nan=True))
        Case(name).op(f"{name}.{h}x2", 32, pairs[:2], pack(minmax(h, name == "max")))
    Case("neg").op(f"neg.{h}", 16, [(16, no_nan(INPUT[h], h))], lambda a: a ^ 0x8000)
    Case("abs").op(f"abs.{h}", 16, [(16, no_nan(INPUT[h], h))], lambda a: a & 0x7fff)
    Case("neg").op(f"neg.{h}x2", 32, pairs[:1], lambda a: a ^ 0x80008000)
    Case("abs").op(f"abs.{h}x2", 32, pairs[:1], lambda a: a & 0x7fff7fff)
for name in ("min", "max"):
    for mods in ("", ".ftz", ".NaN", ".ftz.NaN"):
        Case(name).op(f"{name}{mods}.f32", 32, three("f32")[:2], minmax("f32", name == "max", "NaN" in mods, "ftz" in mods))
    Case(name).op(f"{name}.f64", 64, three("f64")[:2], minmax("f64", name == "max"))
real32 = [x for x in F32 if x != 0x7fc00000] + [0x12345678]
real64 = F64[:31] + [0x3ff123456789abcd]
Case("neg").op("neg.f32", 32, [(32, real32)], lambda a: a ^ 0x80000000)
Case("neg").op("neg.f64", 64, [(64, real64)], lambda a: a ^ 1 << 63)
Case("abs").op("abs.f32", 32, [(32, real32)], lambda a: a & 0x7fffffff)
Case("abs").op("abs.ftz.f32", 32, [(32, real32)], lambda a: 0 if a >> 23 & 255 == 0 else a & 0x7fffffff)
Case("abs").op("abs.f64", 64, [(64, real64)], lambda a: a & ~(1 << 63))
Case("copysign").op("copysign.f32", 32, [(32, real32), (32, rot(real32, 5))], lambda a, b: a & 1 << 31 | b & M32 >> 1)
Case("copysign").op("copysign.f64", 64, [(64, real64), (64, rot(real64, 5))], lambda a, b: a & 1 << 63 | b & M64 >> 1)
for rnd in ("rn", "rz", "rm", "rp"):
    Case("div").op(f"div.{rnd}.f32", 32, three("f32")[:2], arith("f32", op_div, rnd))
    Case("div").op(f"div.{rnd}.f64", 64, three("f64")[:2], arith("f64", op_div, rnd))
    Case("rcp").op(f"rcp.{rnd}.f32", 32, three("f32")[:1], arith("f32", op_rcp, rnd))
    Case("rcp").op(f"rcp.{rnd}.f64", 64, three("f64")[:1], arith("f64", op_rcp, rnd))
    Case("sqrt").op(f"sqrt.{rnd}.f32", 32, three("f32")[:1], arith("f32", op_sqrt, rnd))
    Case("sqrt").op(f"sqrt.{rnd}.f64", 64, three("f64")[:1], arith("f64", op_sqrt, rnd))
Case("div").op("div.rn.ftz.f32", 32, three("f32")[:2], arith("f32", op_div, ftz=True))
plain = [f32(x) for x in (1, 2, 3, 0.5, 0.1, -7, 100, 1e-3, 1e3, 12345.678, -0.25, 6, 10, 0.75, 1.5, 9, 16, 5, 0.3, 30, -1, 4, 8, 11, 13, 17, 19, 23, 29, 31, 37, 41)]
Case("div").op("div.approx.f32", 32, [(32, plain), (32, rot(plain, 5))], arith("f32", op_div), ulp=2)
Case("div").op("div.full.f32", 32, [(32, plain), (32, rot(plain, 5))], arith("f32", op_div), ulp=2)
Case("div").op("div.approx.f32", 32, [(32, plain), "0f7F000000"], lambda a: a & 1 << 31)   # a divisor beyond 2^126
Case("rcp").op("rcp.approx.f32", 32, [(32, plain)], arith("f32", op_rcp), ulp=1)
Case("sqrt").op("sqrt.approx.f32", 32, [(32, plain)], arith("f32", op_sqrt), ulp=1)
def real(fn, domain=lambda x: True, special=lambda b: None):
    def lane(b):
        d = decode(b, "f32")
        if isnan(d): return None
        x = float(value(d))
        return f32(fn(x)) if domain(x) else special(x)
    return lane
pos = [x & 0x7fffffff for x in plain]
Case("rsqrt").op("rsqrt.approx.f32", 32, [(32, pos)], real(lambda x: 1 / math.sqrt(x)), ulp=2)
Case("rsqrt").op("rsqrt.approx.f32", 32, [(32, [0, 0x80000000, 0x7f800000, 0x7fc00000, 0xbf800000] + [0x3f800000] * 27)],
                 lambda b: {0: 0x7f800000, 0x80000000: 0xff800000, 0x7f800000: 0, 0x7fc00000: None, 0xbf800000: None}.get(b, 0x3f800000))
exps = [f32(x) for x in (0, 1, -1, 0.5, -0.5, 10, -10, 126.5, -126, -149, 3.3, 7.77, -20.25, 100, -100, 1e-5, -1e-5, 0.1, 0.9, 64, 31.5, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16)]
Case("ex2").op("ex2.approx.f32", 32, [(32, exps)], real(lambda x: 2.0 ** x), ulp=2)
Case("ex2").op("ex2.approx.ftz.f32", 32, [(32, exps)], real(lambda x: 2.0 ** x if x >= -126 else 0.0), ulp=2)
Case("ex2").op("ex2.approx.f32", 32, [(32, [0x7f800000, 0xff800000, 0x7fc00000, f32(128), f32(-151)] + [0] * 27)],
               lambda b: {0x7f800000: 0x7f800000, 0xff800000: 0, 0x7fc00000: None, f32(128): 0x7f800000, f32(-151): 0}.get(b, 0x3f800000))
Case("lg2").op("lg2.approx.f32", 32, [(32, pos)], real(lambda x: math.log2(x)), ulp=2)
Case("lg2").op("lg2.approx.f32", 32, [(32, [0, 0x7f800000, 0xbf800000, 0x00000001, 0x00400000] + [0x3f800000] * 27)],
               lambda b: {0: 0xff800000, 0x7f800000: 0x7f800000, 0xbf800000: None, 1: f32(-149), 0x00400000: f32(-127)}.get(b, 0))
small = [f32(x) for x in (0, 0.1, -0.1, 1, -1, 2, 3, 3.14, -3.14, 0.5, 1e-4, -1e-4, 1e-6, 6, 7, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 2.2, 2.4, 4, 5, 8, 9, -9, 20)]
Case("sin").op("sin.approx.f32", 32, [(32, small)], real(math.sin), ulp=4)
Case("cos").op("cos.approx.f32", 32, [(32, small)], real(math.cos), ulp=4)
Case("tanh").op("tanh.approx.f32", 32, [(32, small)], real(math.tanh), ulp=4)
for h in ("f16", "bf16"):
    vals = [encode(Fraction(x), h) for x in (0, Fraction(1, 2), 1, -1, 2, -2, 3, -3, Fraction(1, 4), Fraction(-1, 8), 5, -5, 6, -6, 7, 8)] * 2
    exact = lambda fn, h=h: (lambda b: encode(Fraction(fn(float(value(decode(b, h))))), h))
    Case("ex2").op(f"ex2.approx{'.ftz' if h == 'bf16' else ''}.{h}", 16, [(16, vals)], exact(lambda x: 2.0 ** x), ulp=1)
    Case("tanh").op(f"tanh.approx.{h}", 16, [(16, vals)], exact(math.tanh), ulp=1)
    Case("tanh").op(f"tanh.approx.{h}x2", 32, [(32, [v | v << 16 for v in vals])], pack(exact(math.tanh)))
    Case("ex2").op(f"ex2.approx{'.ftz' if h == 'bf16' else ''}.{h}x2", 32, [(32, [v | v << 16 for v in vals])], pack(exact(lambda x: 2.0 ** x)))
def pairs64(fn):
    def lane(*v):
        lo, hi = fn(*[x & M32 for x in v]), fn(*[x >> 32 for x in v])
        return hi << 32 | lo
    return lane
fin = [x for x in F32 if not isnan(decode(x, "f32")) and x & 0x7fffffff < 0x7e000000][:16] * 2
two = [(64, [a | b << 32 for a, b in zip(rot(fin, k), rot(fin, k + 3))]) for k in (0, 5, 9)]
Case("add").op("add.rn.f32x2", 64, two[:2], pairs64(arith("f32", op_add)))
Case("mul").op("mul.rn.f32x2", 64, two[:2], pairs64(arith("f32", op_mul)))
Case("fma").op("fma.rn.f32x2", 64, two, pairs64(arith("f32", op_fma)))
for kind, test in (("finite", lambda d: not isinstance(d, float)), ("infinite", lambda d: isinstance(d, float) and math.isinf(d)),
                   ("number", lambda d: not isnan(d)), ("notanumber", isnan)):
    Case("testp").op(f"testp.{kind}.f32", "pred", [(32, F32)], lambda b, t=test: t(decode(b, "f32")))
    Case("testp").op(f"testp.{kind}.f64", "pred", [(64, F64)], lambda b, t=test: t(decode(b, "f64")))
Case("testp").op("testp.normal.f32", "pred", [(32, F32)], lambda b: b & 0x7fffffff == 0 or 0 < b >> 23 & 255 < 255)   # zero counts
Case("testp").op("testp.subnormal.f32", "pred", [(32, F32)], lambda b: b >> 23 & 255 == 0 and b & 0x7fffff != 0)

# comparison
REL = {"eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b}
for t in ints(ALL):
    v = INPUT[t]
    b = [x if i % 3 else y for i, (x, y) in enumerate(zip(v, rot(v, 9)))]
    for c, f in REL.items():
        Case("setp").op(f"setp.{c}.{t}", "pred", [(WIDTH[t], v), (WIDTH[t], b)], lambda x, y, f=f, t=t: f(signed(x, t), signed(y, t)))
for t in ("b16", "b32", "b64"):
    v = INPUT[t]
    b = [x if i % 3 else y for i, (x, y) in enumerate(zip(v, rot(v, 9)))]
    for c in ("eq", "ne"): Case("setp").op(f"setp.{c}.{t}", "pred", [(WIDTH[t], v), (WIDTH[t], b)], REL[c])
for c, f in (("lo", "lt"), ("ls", "le"), ("hi", "gt"), ("hs", "ge")):
    Case("setp").op(f"setp.{c}.u32", "pred", three("u32")[:2], REL[f])
for t in ("f32", "f64", "f16", "bf16"):
    v = INPUT[t]
    b = [x if i % 3 else y for i, (x, y) in enumerate(zip(v, rot(v, 9)))]
    for c, f in REL.items():
        fn = lambda x, y, f=f, t=t: not isnan(decode(x, t)) and not isnan(decode(y, t)) and f(value(decode(x, t)), value(decode(y, t)))
        un = lambda x, y, f=f, t=t: isnan(decode(x, t)) or isnan(decode(y, t)) or f(value(decode(x, t)), value(decode(y, t)))
        Case("setp").op(f"setp.{c}.{t}", "pred", [(WIDTH[t], v), (WIDTH[t], b)], fn)
        Case("setp").op(f"setp.{c}u.{t}", "pred", [(WIDTH[t], v), (WIDTH[t], b)], un)
    Case("setp").op(f"setp.num.{t}", "pred", [(WIDTH[t], v), (WIDTH[t], b)], lambda x, y, t=t: not (isnan(decode(x, t)) or isnan(decode(y, t))))
    Case("setp").op(f"setp.nan.{t}", "pred", [(WIDTH[t], v), (WIDTH[t], b)], lambda x, y, t=t: isnan(decode(x, t)) or isnan(decode(y, t)))
def ftz32(x): return x & 1 << 31 if x >> 23 & 255 == 0 else x
Case("setp").op("setp.lt.ftz.f32", "pred", three("f32")[:2], lambda x, y: not isnan(decode(x, "f32")) and not isnan(decode(y, "f32")) and value(decode(ftz32(x), "f32")) < value(decode(ftz32(y), "f32")))
for bool_, f in (("and", lambda a, b: a & b), ("or", lambda a, b: a | b), ("xor", lambda a, b: a ^ b)):
    c = Case("setp")
    a, b, q = c.load(32, U32), c.load(32, rot(U32, 11)), c.load(32, [i % 2 for i in range(32)])
    for neg_ in ("", "!"):
        d, o, r1, r2, g = c.reg(0), c.reg(0), c.reg(32), c.reg(32), c.reg(0)
        c.lines += [f"setp.ne.u32 {g}, {q}, 0;", f"setp.lt.{bool_}.u32 {d}|{o}, {a}, {b}, {neg_}{g};", f"selp.b32 {r1}, 1, 0, {d};", f"selp.b32 {r2}, 1, 0, {o};"]
        p = [(i % 2) ^ (neg_ == "!") for i in range(32)]
        lt = [int(x < y) for x, y in zip(U32, rot(U32, 11))]
        c.store(32, r1, [f(x, y) for x, y in zip(lt, p)])
        c.store(32, r2, [f(1 - x, y) for x, y in zip(lt, p)])
    c = Case(bool_)
    pa, pb, pd, ra, rb, rd = c.reg(0), c.reg(0), c.reg(0), c.load(32, [i % 2 for i in range(32)]), c.load(32, [i // 2 % 2 for i in range(32)]), c.reg(32)
    c.lines += [f"setp.ne.u32 {pa}, {ra}, 0;", f"setp.ne.u32 {pb}, {rb}, 0;", f"{bool_}.pred {pd}, {pa}, !{pb};", f"selp.b32 {rd}, 1, 0, {pd};"]
    c.store(32, rd, [f(i % 2, 1 - i // 2 % 2) for i in range(32)])
c = Case("not")
pa, pd, ra, rd = c.reg(0), c.reg(0), c.load(32, [i % 2 for i in range(32)]), c.reg(32)
c.lines += [f"setp.ne.u32 {pa}, {ra}, 0;", f"not.pred {pd}, {pa};", f"selp.b32 {rd}, 1, 0, {pd};"]
c.store(32, rd, [1 - i % 2 for i in range(32)])
Case("set").op("set.lt.u32.s32", 32, three("s32")[:2], lambda a, b: M32 if signed(a, "s32") < signed(b, "s32") else 0)
Case("set").op("set.gt.f32.f32", 32, three("f32")[:2], lambda a, b: 0x3f800000 if not isnan(decode(a, "f32")) and not isnan(decode(b, "f32")) and value(decode(a, "f32")) > value(decode(b, "f32")) else 0)
for t in ("b16", "b32", "u32", "s32", "b64", "f32", "f64"):
    c = Case("selp")
    v = INPUT[t]
    a, b, q, g, d = c.load(WIDTH[t], v), c.load(WIDTH[t], rot(v, 7)), c.load(32, [i // 3 % 2 for i in range(32)]), c.reg(0), c.reg(WIDTH[t])
    c.lines += [f"setp.ne.u32 {g}, {q}, 0;", f"selp.{t} {d}, {a}, {b}, {g};"]
    c.store(WIDTH[t], d, [x if i // 3 % 2 else y for i, (x, y) in enumerate(zip(v, rot(v, 7)))])

# moves
for t in ("b16", "u16", "b32", "b64", "f32", "f64"):
    Case("mov").op(f"mov.{t}", WIDTH[t], [(WIDTH[t], real32 if t == "f32" else INPUT[t])], lambda a: a)
c = Case("mov")
h = [(16, rot(U16, k)) for k in (0, 3, 5, 9)]
c.op("mov.b32", 32, h[:2], lambda a, b: b << 16 | a, "{op} {d}, {{{s}}};")
c.op("mov.b64", 64, h, lambda a, b, x, y: y << 48 | x << 32 | b << 16 | a, "{op} {d}, {{{s}}};")
c.op("mov.b64", 64, [(32, U32), (32, rot(U32, 7))], lambda a, b: b << 32 | a, "{op} {d}, {{{s}}};")
a32, a64 = c.load(32, U32), c.load(64, U64)
x, y, z, w, r, s = c.reg(16), c.reg(16), c.reg(16), c.reg(16), c.reg(32), c.reg(32)
c.lines.append(f"mov.b32 {{{x}, {y}}}, {a32};")
c.store(16, x, [v & M16 for v in U32]); c.store(16, y, [v >> 16 for v in U32])
c.lines.append(f"mov.b64 {{{r}, {s}}}, {a64};")
c.store(32, r, [v & M32 for v in U64]); c.store(32, s, [v >> 32 for v in U64])
c.lines.append(f"mov.b64 {{{x}, {y}, {z}, {w}}}, {a64};")
c.store(16, z, [v >> 32 & M16 for v in U64]); c.store(16, w, [v >> 48 for v in U64])
c.lines.append(f"mov.b64 {{{r}, _}}, {a64};")
c.store(32, r, [v & M32 for v in U64])
p, r = c.reg(0), c.reg(32)
c.lines += [f"mov.pred {p}, -1;", f"selp.b32 {r}, 5, 6, {p};"]
c.store(32, r, [5] * 32)
for s, f in (("%laneid", lambda l: l), ("%ntid.x", lambda l: 32), ("%nctaid.y", lambda l: 1), ("%lanemask_lt", lambda l: (1 << l) - 1), ("%lanemask_ge", lambda l: M32 & ~((1 << l) - 1)), ("%lanemask_eq", lambda l: 1 << l), ("%lanemask_le", lambda l: (2 << l) - 1), ("%lanemask_gt", lambda l: M32 & ~((2 << l) - 1))):
    r = c.reg(32)
    c.lines.append(f"mov.u32 {r}, {s};")
    c.store(32, r, [f(l) for l in range(32)])
c = Case("mov.places")
for s, n in (("%warpid", 0), ("%nwarpid", 1)):
    r = c.reg(32)
    c.lines.append(f"mov.u32 {r}, {s};")
    c.store(32, r, [n] * 32)

# conversions
SIZES = {8: ("u8", "s8"), 16: ("u16", "s16"), 32: ("u32", "s32"), 64: ("u64", "s64")}
INT8 = [t for p in SIZES.values() for t in p]
cut = lambda x, t: signed(x & mask(t), t)
for src in INT8:
    w = max(16, WIDTH[src])
    vals = {16: U16, 32: U32, 64: U64}[w]
    for dst in INT8:
        d = max(16, WIDTH[dst])
        full = lambda x, dst=dst, d=d: x & ((1 << d) - 1)
        Case("cvt").op(f"cvt.{dst}.{src}", d, [(w, vals)], lambda a, src=src, dst=dst, full=full: full(cut(cut(a, src), dst)))
        lo, hi = (0, mask(dst)) if dst[0] == "u" else (-(1 << WIDTH[dst] - 1), (1 << WIDTH[dst] - 1) - 1)
        slo, shi = (0, mask(src)) if src[0] == "u" else (-(1 << WIDTH[src] - 1), (1 << WIDTH[src] - 1) - 1)
        if slo < lo or shi > hi:             # ptxas takes .sat only where it can matter
            Case("cvt").op(f"cvt.sat.{dst}.{src}", d, [(w, vals)], lambda a, src=src, lo=lo, hi=hi, full=full: full(clamp(cut(a, src), lo, hi)))
    for f in ("f32", "f64", "f16", "bf16"):
        if f in ("f16", "bf16") and WIDTH[src] == 64 or f == "bf16" and WIDTH[src] == 8: continue
        for rnd in ("rn",) if f in ("f16", "bf16") else ("rn", "rz", "rm", "rp"):
            Case("cvt").op(f"cvt.{rnd}.{f}.{src}", WIDTH[f], [(w, vals)], lambda a, src=src, f=f, rnd=rnd: encode(Fraction(cut(a, src)), f, rnd, sign=cut(a, src) < 0))
# a register wider than the type
Case("cvt").op("cvt.u32.u8", 32, [(32, U32)], lambda a: a & 255)
Case("cvt").op("cvt.s32.s8", 32, [(32, U32)], lambda a: cut(a, "s8") & M32)
Case("cvt").op("cvt.s64.s16", 64, [(32, U32)], lambda a: cut(a, "s16") & M64)
Case("cvt").op("cvt.s8.s32", 32, [(32, U32)], lambda a: cut(a, "s8") & M32)
def integral(x, mode):
    n = x.numerator // x.denominator
    r = x - n
    return {"rni": n + (r > Fraction(1, 2) or (r == Fraction(1, 2) and n & 1)), "rzi": n + (r > 0 and x < 0), "rmi": n, "rpi": n + (r > 0)}[mode]
halves = [f32(x) for x in (0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49, -0.49, 126.5, 127.5, 128, -128.5, 255.5, 256, 32767.5, 65535.5, -1, -0.9, 2147483520.0, 2147483648.0, -2147483648.0, 4294967040.0, 4294967296.0, 1e19, -1e19, 9.2e18, 1e30, -1e30, 3.7, -3.7)] + [0x7fc00000, 0xff800000]
for dst in INT8:
    d = max(16, WIDTH[dst])
    lo, hi = (0, mask(dst)) if dst[0] == "u" else (-(1 << WIDTH[dst] - 1), (1 << WIDTH[dst] - 1) - 1)
    for f, vals in (("f32", halves), ("f32", F32), ("f64", F64), ("f16", F16), ("bf16", BF16)):
        if f == "bf16" and WIDTH[dst] == 8: continue
        for rnd in ("rni", "rzi", "rmi", "rpi"):
            nan = 1 << WIDTH[dst] - 1 if f == "f64" or WIDTH[dst] == 64 else 0   # PTX ISA, cvt
            if dst[0] == "s": nan = -nan & ((1 << d) - 1)
            def f2i(b, f=f, rnd=rnd, lo=lo, hi=hi, d=d, nan=nan):
                x = decode(b, f)
                if isnan(x): return nan
                v = value(x)
                n = (hi if v > 0 else lo) if isinstance(v, float) else clamp(integral(v, rnd), lo, hi)
                return n & ((1 << d) - 1)
            Case("cvt").op(f"cvt.{rnd}.{dst}.{f}", d, [(WIDTH[f], vals)], f2i)
def f2f(src, dst, rnd="rn", relu=False, sat=False):
    def lane(b):
        x = decode(b, src)
        if isnan(x): return 0 if sat else None
        v, s = value(x), sgn(x)
        if relu and s: v, s = Fraction(0), 0
        if sat: v, s = (Fraction(0), 0) if v <= 0 else (min(v, Fraction(1)) if not isinstance(v, float) else Fraction(1), 0)
        return encode(v, dst, rnd, sign=s)
    return lane
for src, dst in (("f16", "f32"), ("bf16", "f32"), ("f32", "f64"), ("f16", "f64"), ("bf16", "f64")):
    Case("cvt").op(f"cvt.{dst}.{src}", WIDTH[dst], [(WIDTH[src], INPUT[src])], f2f(src, dst))
for rnd in ("rn", "rz", "rm", "rp"): Case("cvt").op(f"cvt.{rnd}.f32.f64", 32, [(64, F64)], f2f("f64", "f32", rnd))
for h in ("f16", "bf16"):
    Case("cvt").op(f"cvt.rn.{h}.f32", 16, [(32, F32)], f2f("f32", h))
    Case("cvt").op(f"cvt.rz.{h}.f32", 16, [(32, F32)], f2f("f32", h, "rz"))
    Case("cvt").op(f"cvt.rn.relu.{h}.f32", 16, [(32, F32)], f2f("f32", h, relu=True))
    Case("cvt").op(f"cvt.rn.{h}.f64", 16, [(64, F64)], f2f("f64", h))
    fin32 = [x for x in F32 if not isnan(decode(x, "f32"))] + [0x3f801000]
    for mods, rnd, relu in ((".rn", "rn", False), (".rz", "rz", False), (".rn.relu", "rn", True)):
        Case("cvt").op(f"cvt{mods}.{h}x2.f32", 32, [(32, fin32), (32, rot(fin32, 5))], lambda a, b, h=h, rnd=rnd, relu=relu: f2f("f32", h, rnd, relu)(a) << 16 | f2f("f32", h, rnd, relu)(b))
Case("cvt").op("cvt.sat.f32.f32", 32, [(32, F32)], f2f("f32", "f32", sat=True))
Case("cvt").op("cvt.ftz.f32.f32", 32, [(32, F32)], lambda a: None if isnan(decode(a, "f32")) else ftz32(a))
for rnd in ("rni", "rzi", "rmi", "rpi"):
    for f, vals in (("f32", halves), ("f64", F64)):
        def whole(b, f=f, rnd=rnd):
            x = decode(b, f)
            if isnan(x): return None
            v = value(x)
            return b if isinstance(v, float) else encode(Fraction(integral(v, rnd)), f, sign=sgn(x))
        Case("cvt").op(f"cvt.{rnd}.{f}.{f}", WIDTH[f], [(WIDTH[f], vals)], whole)
def tf32(rnd):
    def lane(b):
        x = decode(b, "f32")
        if isnan(x): return None
        FORMATS["tf"] = (8, 10)
        r = encode(value(x), "tf", rnd, sign=sgn(x))
        return r << 13
    return lane
Case("cvt").op("cvt.rna.tf32.f32", 32, [(32, F32)], tf32("rna"))
Case("cvt").op("cvt.rn.tf32.f32", 32, [(32, F32)], tf32("rn"))
E2M1 = [Fraction(x) for x in ("0", "1/2", "1", "3/2", "2", "3", "4", "6")]
def small_float(x, fmt):
    d = decode(x, "f32")
    if fmt == "e2m1":
        if isnan(d): return 7
        a = abs(value(d)) if not isinstance(d, float) else Fraction(100)
        best = min(range(8), key=lambda c: (abs(E2M1[c] - min(a, Fraction(6))), c & 1))
        return best | sgn(d) << 3
    if isnan(d): return 0x7f
    return encode(value(d), fmt, sign=sgn(d), satfinite=True)
tiny = [f32(x) for x in (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 5.5, 7, -0.25, -0.75, 448, 464, 465, 1e6, 2**-9, 2**-10, 3 * 2**-10, 2**-6, 57344, 61440, 2**-16, 2**-17, 0.3)] + [0x3e800001, 0x3e7fffff, 0x7fc00000, 0x7f800000, 0xff800000, 0x80000000, 0x00000001, 0xc0a00001]
relu32 = lambda b: 0x7fc00000 if isnan(decode(b, "f32")) else 0 if b >> 31 else b
for fmt in ("e4m3", "e5m2"):
    for mods, pre in (("", lambda b: b), (".relu", relu32)):
        Case("cvt").op(f"cvt.rn.satfinite{mods}.{fmt}x2.f32", 16, [(32, tiny), (32, rot(tiny, 5))], lambda a, b, fmt=fmt, pre=pre: small_float(pre(a), fmt) << 8 | small_float(pre(b), fmt))
        wide16 = lambda h: f32(float(value(decode(h, "f16")))) if isinstance(decode(h, "f16"), tuple) and h != 0x8000 else 0x80000000 if h == 0x8000 else {0x7c00: 0x7f800000, 0xfc00: 0xff800000}.get(h, 0x7fc00000)
        Case("cvt").op(f"cvt.rn.satfinite{mods}.{fmt}x2.f16x2", 16, [(32, [a | b << 16 for a, b in zip(F16, rot(F16, 7))])],
                       lambda v, fmt=fmt, pre=pre: small_float(pre(wide16(v >> 16)), fmt) << 8 | small_float(pre(wide16(v & M16)), fmt))
    for k in range(4):
        def up(v, fmt=fmt):
            r = [encode(value(decode(v >> s & 255, fmt)), "f16", sign=sgn(decode(v >> s & 255, fmt))) if not isnan(decode(v >> s & 255, fmt)) else 0x7fff for s in (0, 8)]
            return r[1] << 16 | r[0]
        codes = [64 * k + 2 * i + (64 * k + 2 * i + 1 << 8) for i in range(32)]
        if fmt == "e5m2": codes = [c if (c & 0x7f) <= 0x7c and (c >> 8 & 0x7f) <= 0x7c else 0x3c3c for c in codes]
        Case("cvt").op(f"cvt.rn.f16x2.{fmt}x2", 32, [(16, codes)], up)
c = Case("cvt")
for mods, pre in (("", lambda b: b), (".relu", relu32)):
    a, b, d = c.load(32, tiny), c.load(32, rot(tiny, 5)), c.reg(32)
    c.lines.append(f"{{ .reg .b8 t; cvt.rn.satfinite{mods}.e2m1x2.f32 t, {a}, {b}; cvt.u32.u8 {d}, t; }}")
    c.store(32, d, [small_float(pre(x), "e2m1") << 4 | small_float(pre(y), "e2m1") for x, y in zip(tiny, rot(tiny, 5))])
for k in range(8):
    a, d = c.load(16, [32 * k + i for i in range(32)]), c.reg(32)
    c.lines.append(f"{{ .reg .b8 t, u; mov.b16 {{t, u}}, {a}; cvt.rn.f16x2.e2m1x2 {d}, t; }}")
    e = lambda n: encode(E2M1[n & 7], "f16", sign=n >> 3)
    c.store(32, d, [e(v >> 4) << 16 | e(v & 15) for v in range(32 * k, 32 * k + 32)])
def ue8m0(b, up):
    d = decode(b, "f32")
    if isnan(d): return 0xff
    v = value(d) * (-1 if sgn(d) else 1)
    if isinstance(v, float): return 0xfe
    n = 0
    while n < 0xfe and Fraction(2) ** (n + 1 - 127) <= v: n += 1
    return min(0xfe, n + (up and Fraction(2) ** (n - 127) < v)) if v > 0 else 0
for rnd, up in (("rz", False), ("rp", True)):
    Case("cvt").op(f"cvt.{rnd}.satfinite.ue8m0x2.f32", 16, [(32, F32), (32, rot(F32, 3))], lambda a, b, up=up: ue8m0(a, up) << 8 | ue8m0(b, up))
e8 = lambda n: 0x7fff if n == 255 else encode(Fraction(2) ** (n - 127), "bf16")
Case("cvt").op("cvt.rn.bf16x2.ue8m0x2", 32, [(16, [i * 8 | (255 - i * 8) << 8 for i in range(32)])], lambda v: e8(v >> 8) << 16 | e8(v & 255))

# memory: 32 threads, a buffer of 1 KiB in each space
data = [i * 2654435761 & M32 for i in range(256)]
raw = b"".join(struct.pack("<I", x) for x in data)
def field(at, n, sign=False): return int.from_bytes(raw[at:at + n], "little", signed=sign)
def spaces(opcode, n, fn, per=1, name=None):
    c = Case(name or opcode.replace("SPACE", ""))
    if not c.lines:
        name = c.buffer("in", 32, data)
        c.lines += [".shared .align 16 .b8 sh[1024]; .local .align 16 .b8 lo[1024]; .reg .u64 %g, %a, %b, %l; .reg .u32 %i, %x; .reg .pred %q;",
                    f"ld.param.u64 %g, [{name}];", "mov.u32 %i, 0;", "mov.u64 %l, lo;",
                    "copy: cvt.u64.u32 %a, %i; add.u64 %b, %g, %a; ld.global.u32 %x, [%b]; add.u64 %b, %l, %a; st.local.u32 [%b], %x;",
                    "setp.ne.u32 %q, %lane, 0; mov.u64 %b, sh; add.u64 %b, %b, %a; @!%q st.shared.u32 [%b], %x; add.u32 %i, %i, 4; setp.lt.u32 %q, %i, 1024; @%q bra copy;",
                    "bar.sync 0;"]
    for space in ("global", "shared", "local", "generic") if "SPACE" in opcode else ("global",):
        for kind, at in (("side by side", lambda l: l * n * per), ("apart", lambda l: (l * 7 % 32) * n * per), ("one place", lambda l: 0)):
            mul = {"side by side": f"mul.lo.u32 %i, %lane, {n * per};", "apart": f"mul.lo.u32 %i, %lane, 7; and.b32 %i, %i, 31; mul.lo.u32 %i, %i, {n * per};", "one place": "mov.u32 %i, 0;"}[kind]
            base = {"global": "mov.u64 %a, %g;", "shared": "mov.u64 %a, sh;", "local": "mov.u64 %a, lo;", "generic": "mov.u64 %a, sh; cvta.shared.u64 %a, %a;"}[space]
            c.lines += [f"{mul} {base} cvt.u64.u32 %b, %i; add.u64 %a, %a, %b;"]
            fn(c, opcode.replace("SPACE", "" if space == "generic" else "." + space), at)
def plain_ld(n, sign, dst):
    def fn(c, opcode, at):
        d = c.reg(dst)
        c.lines.append(f"{opcode} {d}, [%a];")
        c.store(dst, d, [field(at(l), n, sign) & ((1 << dst) - 1) for l in range(32)])
    return fn
for t, n in (("u8", 1), ("s8", 1), ("u16", 2), ("s16", 2), ("b32", 4), ("s32", 4), ("b64", 8)):
    for dst in [w for w in (16, 32, 64) if w >= 8 * n]:
        if dst == 16 or n >= 2 or dst == 32:
            spaces(f"ldSPACE.{t}", n, plain_ld(n, t[0] == "s", dst))
def vector_ld(n, per):
    def fn(c, opcode, at):
        d = [c.reg(max(16, 8 * n)) for _ in range(per)]
        c.lines.append(f"{opcode} {{{', '.join(d)}}}, [%a];")
        for k in (0, per - 1):
            c.store(max(16, 8 * n), d[k], [field(at(l) + k * n, n) for l in range(32)])
    return fn
for t, n, per in (("u8", 1, 4), ("u16", 2, 2), ("u16", 2, 4), ("b32", 4, 2), ("b32", 4, 4), ("b64", 8, 2)):
    spaces(f"ldSPACE.v{per}.{t}", n, vector_ld(n, per), per)
for t in ("u32", "f32"): spaces(f"ldSPACE.{t}", 4, plain_ld(4, False, 32))
for per in (2, 4): spaces(f"ldSPACE.v{per}.u32", 4, vector_ld(4, per), per)
spaces("ldSPACE.v2.f32", 4, vector_ld(4, 2), 2)
spaces("ld.global.nc.L1::no_allocate.v4.u32", 4, vector_ld(4, 4), 4)
c = Case("ld.param")                            # halves of a pointer: what they hold is the device's, that they are its halves is not
for t, at, shift in (("f32", 0, 0), ("u32", 4, 32), ("b32", 0, 0)):
    part_, whole_, half_, p, r = c.reg(32), c.reg(64), c.reg(32), c.reg(0), c.reg(32)
    name = c.buffer("in", 32, U32)
    c.lines += [f"ld.param.{t} {part_}, [{name}+{at}];", f"ld.param.u64 {whole_}, [{name}];", f"shr.u64 {whole_}, {whole_}, {shift};",
                f"cvt.u32.u64 {half_}, {whole_};", f"setp.eq.u32 {p}, {part_}, {half_};", f"selp.b32 {r}, 1, 0, {p};"]
    c.store(32, r, [1] * 32)
for opcode in ("ld.volatile.global.u32", "ld.relaxed.gpu.global.u32", "ldu.global.u32"):
    spaces(opcode, 4, plain_ld(4, False, 32))
c = Case("ld.v8.b32")
name = c.buffer("in", 32, data)
c.lines += [f"{{ .reg .u64 %a; ld.param.u64 %a, [{name}]; mad.wide.u32 %a, %lane, 32, %a;"]
vector_ld(4, 8)(c, "ld.global.nc.L1::no_allocate.L2::evict_first.v8.b32", lambda l: 32 * l)
c.lines.append("}")
for t, n, per in (("u8", 1, 1), ("u16", 2, 1), ("b32", 4, 1), ("u32", 4, 1), ("f32", 4, 1), ("b64", 8, 1), ("u8", 1, 4), ("u16", 2, 2), ("b32", 4, 2), ("u32", 4, 2),
                  ("b32", 4, 4), ("u32", 4, 4), ("f32", 4, 2), ("f32", 4, 4), ("b64", 8, 2), ("b32", 4, 8)):
    c = Case(f"st.v{per}.{t}" if per > 1 else f"st.{t}")
    w = max(16, 8 * n)
    vals = {16: U16, 32: U32, 64: U64}[w]
    regs = [c.load(w, rot(vals, k)) for k in range(per)]
    out = [b"".join((rot(vals, k)[l] & ((1 << 8 * n) - 1)).to_bytes(n, "little") for k in range(per)) for l in range(32)]
    mem = b"".join(out)
    name = c.buffer("out", 8, list(mem))
    src = regs[0] if per == 1 else "{" + ", ".join(regs) + "}"
    vec = "" if per == 1 else f".v{per}"
    c.lines += [f"ld.param.u64 %d0, [{name}];", f"mad.wide.u32 %d0, %lane, {n * per}, %d0;", f"st.global{vec}.{t} [%d0], {src};"]
    if per < 8:
        name = c.buffer("out", 8, list(mem) )
        back = [c.reg(w) for _ in range(per)]
        c.lines += [f"{{ .shared .align 16 .b8 sh{c.n}[1024]; .reg .u64 %a; .reg .u32 %i; mov.u64 %a, sh{c.n}; mad.wide.u32 %a, %lane, {n * per}, %a;",
                    f"st.shared{vec}.{t} [%a], {src}; bar.sync 0;", f"ld.shared{vec}.{t} {back[0] if per == 1 else '{' + ', '.join(back) + '}'}, [%a];",
                    f"ld.param.u64 %d0, [{name}];", f"mad.wide.u32 %d0, %lane, {n * per}, %d0;",
                    f"st{vec}.{t} [%d0], {back[0] if per == 1 else '{' + ', '.join(back) + '}'}; }}"]
        name = c.buffer("out", 8, list(mem) )
        back = [c.reg(w) for _ in range(per)]
        c.lines += [f"{{ .local .align 16 .b8 lo{c.n}[64]; .reg .u64 %a; mov.u64 %a, lo{c.n};",
                    f"st.local{vec}.{t} [%a+{n * per}], {src};", f"ld.local{vec}.{t} {back[0] if per == 1 else '{' + ', '.join(back) + '}'}, [%a+{n * per}];",
                    f"ld.param.u64 %d0, [{name}];", f"mad.wide.u32 %d0, %lane, {n * per}, %d0;",
                    f"st.global{vec}.{t} [%d0], {back[0] if per == 1 else '{' + ', '.join(back) + '}'}; }}"]

# atomics; d is what was there before. In X.order 32 lanes meet on 4 words, one after another; in X each has its own word.
def atomic(opcode, width, start, vals, fn, cas=None, red=False):
    words, old = list(start), []
    for l in range(32):
        old.append(words[l % 4])
        words[l % 4] = fn(words[l % 4], vals[l]) & ((1 << width) - 1)
    own = [start[l % 4] if l < 8 else vals[(l * 5 + 1) % 32] for l in range(32)]
    for suffix, before, after, was, count in (("", own, [fn(x, a) & ((1 << width) - 1) for x, a in zip(own, vals)], own, 32),
                                              (".order", list(start), words, old, 4)):
        c = Case(".".join(p for p in opcode.split(".") if p not in ("relaxed", "gpu", "global")) + suffix)
        src = c.load(width, vals)
        name = c.buffer("inout", width, before + after)
        d = c.reg(width)
        c.lines += [f"ld.param.u64 %d0, [{name}];", f"{{ .reg .u32 %i; .reg .u64 %a; and.b32 %i, %lane, {count - 1};", f"mad.wide.u32 %a, %i, {width // 8}, %d0;"]
        c.lines.append(f"{opcode} [%a], {src}; }}" if red else f"{opcode} {d}, [%a], {src}; }}")
        if not red: c.store(width, d, was)
v32, v64 = rot(U32, 3), rot(U64, 3)
s = [5, 0x80000000, M32, 0]
S = [5, 1 << 63, M64, 0]
for red in (False, True):
    o = "red" if red else "atom"
    atomic(f"{o}.global.add.u32", 32, s, v32, lambda x, a: x + a, red=red)
    atomic(f"{o}.relaxed.gpu.global.add.u64", 64, S, v64, lambda x, a: x + a, red=red)
    atomic(f"{o}.global.and.b32", 32, s, v32, lambda x, a: x & a, red=red)
    atomic(f"{o}.global.or.b32", 32, s, v32, lambda x, a: x | a, red=red)
    atomic(f"{o}.xor.b64", 64, S, v64, lambda x, a: x ^ a, red=red)
    atomic(f"{o}.global.min.s32", 32, s, v32, lambda x, a: min(signed(x, "s32"), signed(a, "s32")), red=red)
    atomic(f"{o}.global.max.s32", 32, s, v32, lambda x, a: max(signed(x, "s32"), signed(a, "s32")), red=red)
    atomic(f"{o}.global.min.u32", 32, s, v32, min, red=red)
    atomic(f"{o}.global.max.u64", 64, S, v64, max, red=red)
    atomic(f"{o}.global.inc.u32", 32, s, [3] * 32, lambda x, a: 0 if x >= a else x + 1, red=red)
    atomic(f"{o}.global.dec.u32", 32, s, [3] * 32, lambda x, a: a if x == 0 or x > a else x - 1, red=red)
    add = arith("f32", op_add)
    atomic(f"{o}.global.add.f32", 32, [0, f32(1), f32(-3), f32(1e6)], plain, add, red=red)
    atomic(f"{o}.global.add.noftz.bf16x2", 32, [0, 0x3f803f80, 0, 0], [x | x << 16 for x in (0x3f80, 0x4000, 0xbf80, 0x3e80)] * 8, pack(arith("bf16", op_add)), red=red)
    atomic(f"{o}.global.add.noftz.f16x2", 32, [0, 0x3c003c00, 0, 0], [x | x << 16 for x in (0x3c00, 0x4000, 0xbc00, 0x3400)] * 8, pack(arith("f16", op_add)), red=red)
atomic("atom.global.exch.b32", 32, s, v32, lambda x, a: a)
atomic("atom.exch.b64", 64, S, v64, lambda x, a: a)
for w, values in ((32, U32), (64, U64)):
    c = Case(f"atom.cas.b{w}")
    other = [x if i % 3 else x ^ 1 for i, x in enumerate(values)]
    compare, swap, d = c.load(w, other), c.load(w, rot(values, 4)), c.reg(w)
    name = c.buffer("inout", w, values + [b if a == x else a for a, x, b in zip(values, other, rot(values, 4))])
    c.lines += [f"ld.param.u64 %d0, [{name}]; mad.wide.u32 %d0, %lane, {w // 8}, %d0;", f"atom.global.cas.b{w} {d}, [%d0], {compare}, {swap};"]
    c.store(w, d, values)
    c = Case(f"atom.cas.b{w}.order")
    name, d, e, n = c.buffer("inout", w, [0, 32]), c.reg(w), c.reg(w), c.reg(w)
    c.lines += [f"ld.param.u64 %d0, [{name}];", f"cvt.u{w}.u32 {e}, %lane; add.u{w} {n}, {e}, 1;", f"atom.global.cas.b{w} {d}, [%d0], {e}, {n};"]
    c.store(w, d, list(range(32)))
c = Case("atom.shared.add.u32.order")
d = c.reg(32)
c.lines += ["{ .shared .u32 counter; st.shared.u32 [counter], 7; bar.sync 0;", f"atom.shared.add.u32 {d}, [counter], 2; }}"]
c.store(32, d, [7 + 2 * i for i in range(32)])

c = Case("isspacep")
c.lines += ["{ .shared .b32 sv; .local .b32 lv; .reg .u64 %a, %b, %c; mov.u64 %a, sv; cvta.shared.u64 %a, %a; mov.u64 %b, lv; cvta.local.u64 %b, %b;"]
n1 = c.buffer("in", 32, U32)
c.lines.append(f"ld.param.u64 %c, [{n1}];")
for space, want in (("shared", (1, 0, 0)), ("local", (0, 1, 0)), ("global", (0, 0, 1)), ("shared::cta", (1, 0, 0))):
    for reg, w in zip(("%a", "%b", "%c"), want):
        p, r = c.reg(0), c.reg(32)
        c.lines += [f"isspacep.{space} {p}, {reg};", f"selp.b32 {r}, 1, 0, {p};"]
        c.store(32, r, [w] * 32)
c.lines.append("}")
c = Case("cvta")
c.lines += ["{ .shared .align 8 .b32 sv[32]; .local .align 8 .b32 lv[2]; .reg .u64 %a, %b; mov.u64 %a, sv; mad.wide.u32 %a, %lane, 4, %a; cvta.shared.u64 %b, %a; st.u32 [%b], %lane; bar.sync 0;"]
r, q = c.reg(32), c.reg(64)
c.lines += [f"cvta.to.shared.u64 {q}, %b; ld.shared.u32 {r}, [{q}];"]
c.store(32, r, list(range(32)))
r = c.reg(32)
c.lines += [f"mov.u64 %a, lv; cvta.local.u64 %b, %a; add.u32 {r}, %lane, 5; st.u32 [%b+4], {r}; cvta.to.local.u64 %b, %b; ld.local.u32 {r}, [%b+4]; }}"]
c.store(32, r, [l + 5 for l in range(32)])
r, q, n1 = c.reg(32), c.reg(64), c.buffer("in", 32, U32)
c.lines += [f"ld.param.u64 {q}, [{n1}]; cvta.to.global.u64 {q}, {q}; mad.wide.u32 {q}, %lane, 4, {q}; ld.global.u32 {r}, [{q}];"]
c.store(32, r, U32)
r, q = c.reg(32), c.reg(64)
c.lines += [f"ld.param.u64 {q}, [{n1}]; cvta.global.u64 {q}, {q}; mad.wide.u32 {q}, %lane, 4, {q}; ld.u32 {r}, [{q}];"]
c.store(32, r, U32)
c = Case("prefetch")
n1, r = c.buffer("in", 32, U32), c.reg(32)
c.lines += [f"ld.param.u64 %d0, [{n1}];", "prefetch.global.L2 [%d0];", "prefetch.global.L1 [%d0];", f"ld.global.u32 {r}, [%d0];"]
c.store(32, r, [U32[0]] * 32)
c = Case("createpolicy")
n1, r, q = c.buffer("in", 32, U32), c.reg(32), c.reg(64)
c.lines += [f"createpolicy.fractional.L2::evict_first.b64 {q};", f"ld.param.u64 %d0, [{n1}];", f"ld.global.L2::cache_hint.u32 {r}, [%d0+4], {q};"]
c.store(32, r, [U32[1]] * 32)

# warps
def shuffle(mode, b, cc, l):
    seg, b, c5 = cc >> 8 & 31, b & 31, cc & 31
    last = l & seg | c5 & ~seg & 31
    j = {"up": l - b, "down": l + b, "bfly": l ^ b, "idx": l & seg | b & ~seg & 31}[mode]
    ok = j >= last if mode == "up" else j <= last
    return (j if ok else l), ok
c = Case("shfl")
a = c.load(32, U32)
for mode in ("up", "down", "bfly", "idx"):
    for b, cc in ((1, 0x1f), (16, 0x1f), (3, 0x181f), (5, 0x1c07), (9, 0x0010)):
        if mode == "up": cc &= ~0x1f
        d, p, r = c.reg(32), c.reg(0), c.reg(32)
        c.lines += [f"shfl.sync.{mode}.b32 {d}|{p}, {a}, {b}, {cc}, -1;", f"selp.b32 {r}, 1, 0, {p};"]
        c.store(32, d, [U32[shuffle(mode, b, cc, l)[0]] for l in range(32)])
        c.store(32, r, [int(shuffle(mode, b, cc, l)[1]) for l in range(32)])
bs = [i * 5 % 32 for i in range(32)]
b, d = c.load(32, bs), c.reg(32)
c.lines.append(f"shfl.sync.idx.b32 {d}, {a}, {b}, 31, -1;")
c.store(32, d, [U32[x] for x in bs])
c = Case("vote")
q, p = c.load(32, [int(i % 5 == 2) for i in range(32)]), c.reg(0)
ballot = sum(1 << i for i in range(32) if i % 5 == 2)
c.lines.append(f"setp.ne.u32 {p}, {q}, 0;")
for op, n, w in (("all", "", 0), ("any", "", 1), ("uni", "", 0), ("all", "!", 0), ("any", "!", 1)):
    d, r = c.reg(0), c.reg(32)
    c.lines += [f"vote.sync.{op}.pred {d}, {n}{p}, -1;", f"selp.b32 {r}, 1, 0, {d};"]
    c.store(32, r, [w] * 32)
r = c.reg(32)
c.lines.append(f"vote.sync.ballot.b32 {r}, {p}, -1;")
c.store(32, r, [ballot] * 32)
r = c.reg(32)
c.lines += [f"mov.u32 {r}, 0;", f"@!{p} bra skip;", f"vote.sync.ballot.b32 {r}, {p}, {ballot};", "skip:"]
c.store(32, r, [ballot if i % 5 == 2 else 0 for i in range(32)])
c = Case("activemask")
q, p, r = c.load(32, [int(i % 3 == 0) for i in range(32)]), c.reg(0), c.reg(32)
c.lines += [f"setp.ne.u32 {p}, {q}, 0;", f"activemask.b32 {r};", f"@!{p} bra join;", f"activemask.b32 {r};", "join:"]
c.store(32, r, [sum(1 << i for i in range(0, 32, 3)) if l % 3 == 0 else M32 for l in range(32)])
for t, vals in (("b32", [i // 3 for i in range(32)]), ("b64", [1 << 40 if i % 4 else i for i in range(32)])):
    c = Case("match")
    a, d = c.load(WIDTH[t], vals), c.reg(32)
    c.lines.append(f"match.any.sync.{t} {d}, {a}, -1;")
    c.store(32, d, [sum(1 << k for k in range(32) if vals[k] == vals[l]) for l in range(32)])
    d, p, r = c.reg(32), c.reg(0), c.reg(32)
    c.lines += [f"match.all.sync.{t} {d}|{p}, {a}, -1;", f"selp.b32 {r}, 1, 0, {p};"]
    c.store(32, d, [0] * 32); c.store(32, r, [0] * 32)
    d = c.reg(32)
    c.lines.append(f"match.all.sync.{t} {d}, 77, -1;")
    c.store(32, d, [M32] * 32)
c = Case("redux")
a = c.load(32, U32)
for op, t, fn in (("add", "u32", lambda x, y: x + y), ("add", "s32", lambda x, y: x + y), ("min", "u32", min), ("max", "u32", max), ("min", "s32", min), ("max", "s32", max), ("and", "b32", lambda x, y: x & y), ("or", "b32", lambda x, y: x | y), ("xor", "b32", lambda x, y: x ^ y)):
    d = c.reg(32)
    c.lines.append(f"redux.sync.{op}.{t} {d}, {a}, -1;")
    c.store(32, d, [functools.reduce(fn, [signed(x, t) for x in U32]) & M32] * 32)
c = Case("elect")
d, p, r = c.reg(32), c.reg(0), c.reg(32)
c.lines += [f"elect.sync {d}|{p}, -1;", f"selp.b32 {r}, 1, 0, {p};"]
c.store(32, d, [0] * 32); c.store(32, r, [1] + [0] * 31)

# barriers: two warps
c = Case("bar")
c.block = 64
c.lines += ["{ .shared .align 4 .b32 sh[64]; .reg .u64 %a, %b; .reg .u32 %w, %o; .reg .pred %even; mov.u64 %a, sh; mad.wide.u32 %b, %lane, 4, %a; mul.lo.u32 %w, %lane, 3; st.shared.u32 [%b], %w; bar.sync 0;",
            "xor.b32 %o, %lane, 63; mad.wide.u32 %b, %o, 4, %a;"]
r = c.reg(32)
c.lines.append(f"ld.shared.u32 {r}, [%b];")
c.store(32, r, [3 * (l ^ 63) for l in range(64)])
c.lines.append("and.b32 %o, %lane, 3; setp.eq.u32 %even, %o, 0;")
d = c.reg(32)
c.lines.append(f"bar.red.popc.u32 {d}, 1, %even;")
c.store(32, d, [16] * 64)
for op, n, w in (("and", "", 0), ("or", "", 1), ("and", "!", 0), ("or", "!", 1)):
    p, d = c.reg(0), c.reg(32)
    c.lines += [f"bar.red.{op}.pred {p}, 1, {n}%even;", f"selp.b32 {d}, 1, 0, {p};"]
    c.store(32, d, [w] * 64)
# a named barrier: warp 0 writes and arrives, warp 1 waits and reads
c.lines += ["setp.lt.u32 %even, %lane, 32; @%even bra first; bar.sync 2, 64; bra both; first: st.shared.u32 [sh], 99; bar.arrive 2, 64; both: bar.warp.sync -1; bar.sync 0;"]
r = c.reg(32)
c.lines += [f"ld.shared.u32 {r}, [sh]; }}"]
c.store(32, r, [99] * 64)
c = Case("barrier")
c.block = 64
c.lines += ["{ .shared .align 4 .b32 sh[64]; .reg .u64 %a, %b; .reg .u32 %o; .reg .pred %q; mov.u64 %a, sh; mad.wide.u32 %b, %lane, 4, %a; st.shared.u32 [%b], %lane; barrier.sync 0; barrier.sync.aligned 3, 64;",
            "xor.b32 %o, %lane, 33; mad.wide.u32 %b, %o, 4, %a; setp.lt.u32 %q, %lane, 32; @%q bra early; barrier.sync 4, 64; bra joined; early: barrier.arrive 4, 64; joined:"]
r = c.reg(32)
c.lines += [f"ld.shared.u32 {r}, [%b]; }}"]
c.store(32, r, [l ^ 33 for l in range(64)])
for name, lines in (("membar", ["membar.cta;", "membar.gl;", "membar.sys;"]),
                    ("fence", ["fence.acq_rel.gpu;", "fence.sc.sys;", "fence.proxy.async;", "fence.proxy.async.shared::cta;", "fence.mbarrier_init.release.cluster;"]),
                    ("griddepcontrol", ["griddepcontrol.wait;", "griddepcontrol.launch_dependents;"]),
                    ("nanosleep", ["nanosleep.u32 100;", "nanosleep.u32 %lane;"]), ("setmaxnreg", ["setmaxnreg.inc.sync.aligned.u32 96;"])):
    c = Case(name)
    c.lines += lines
    c.store(32, "%lane", list(range(32)))

# copies and mbarriers
c = Case("cp")
n1 = c.buffer("in", 32, data)
for size, op in ((16, "cg"), (16, "ca"), (8, "ca"), (4, "ca")):
    for src in (size, size // 2, 0):
        r = c.reg(32)
        n = size // 4
        c.lines += [f"{{ .shared .align 16 .b8 sh{c.n}[512]; .reg .u64 %a, %g; .reg .u32 %s; mov.u64 %a, sh{c.n}; cvt.u32.u64 %s, %a; mad.lo.u32 %s, %lane, {size}, %s; ld.param.u64 %g, [{n1}]; mad.wide.u32 %g, %lane, {size}, %g;",
                    f"cp.async.{op}.shared.global [%s], [%g], {size}{'' if src == size else f', {src}'};", "cp.async.commit_group; cp.async.wait_group 0; bar.sync 0;", f"ld.shared.u32 {r}, [%s+{size - 4}]; }}"]
        def got(l, at=size - 4, size=size, src=src):
            full = raw[l * size:l * size + src] + bytes(size - src)
            return int.from_bytes(full[at:at + 4], "little")
        c.store(32, r, [got(l) for l in range(32)])
r, p = c.reg(32), c.reg(0)
c.lines += [f"{{ .shared .align 16 .b8 big[1024]; .shared .align 8 .b64 bar; .reg .u64 %a, %g, %m, %t; .reg .pred %one, %ok; mov.u64 %a, big; mov.u64 %m, bar; ld.param.u64 %g, [{n1}]; setp.eq.u32 %one, %lane, 0;",
            "@%one mbarrier.init.shared::cta.b64 [%m], 1; fence.mbarrier_init.release.cluster; bar.sync 0; @!%one bra wait; mbarrier.arrive.expect_tx.shared::cta.b64 _, [%m], 1024;",
            "cp.async.bulk.prefetch.L2.global [%g], 1024; cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%a], [%g], 1024, [%m];",
            "wait: mbarrier.try_wait.parity.shared::cta.b64 %ok, [%m], 0; @!%ok bra wait; mad.wide.u32 %t, %lane, 32, %a;", f"ld.shared.u32 {r}, [%t+4]; }}"]
c.store(32, r, [data[8 * l + 1] for l in range(32)])
r = c.reg(32)
c.lines += [f"{{ .shared .align 16 .b8 part[128]; .shared .align 8 .b64 bar2; .reg .u64 %a, %g; .reg .pred %one, %ok; mov.u64 %a, part; mad.wide.u32 %a, %lane, 4, %a; ld.param.u64 %g, [{n1}]; mad.wide.u32 %g, %lane, 4, %g; setp.eq.u32 %one, %lane, 0;",
            "@%one mbarrier.init.shared.b64 [bar2], 32; bar.sync 0; cp.async.ca.shared.global [%a], [%g], 4; cp.async.mbarrier.arrive.noinc.shared.b64 [bar2];",
            f"again: mbarrier.test_wait.parity.shared.b64 %ok, [bar2], 0; @!%ok bra again; ld.shared.u32 {r}, [%a]; cp.async.wait_all; }}"]
c.store(32, r, data[:32])
c = Case("mbarrier")
r, st, p = c.reg(32), c.reg(64), c.reg(0)
c.lines += ["{ .shared .align 8 .b64 mb; .shared .b32 word; .reg .pred %one, %ok; .reg .u64 %s; setp.eq.u32 %one, %lane, 0; @%one mbarrier.init.shared.b64 [mb], 32; bar.sync 0; @%one st.shared.u32 [word], 41;",
            "mbarrier.arrive.shared.b64 %s, [mb]; spin: mbarrier.test_wait.shared.b64 %ok, [mb], %s; @!%ok bra spin;", f"ld.shared.u32 {r}, [word];"]
c.store(32, r, [41] * 32)
r = c.reg(32)
c.lines += ["mbarrier.expect_tx.relaxed.cta.shared.b64 [mb], 0; mbarrier.arrive.release.cta.shared::cta.b64 _, [mb], 1; spin2: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %ok, [mb], 1; @!%ok bra spin2; bar.sync 0; @%one mbarrier.inval.shared.b64 [mb];", f"selp.b32 {r}, 1, 0, %ok; }}"]
c.store(32, r, [1] * 32)

# matrices: fragments by their definition; values small and whole so that every order of sums is exact
c = Case("ldmatrix")
n1 = c.buffer("in", 32, data)
c.lines += ["{ .shared .align 16 .b8 sh[1024]; .reg .u64 %a, %b, %g; .reg .u32 %i; mov.u64 %a, sh; ld.param.u64 %g, [" + n1 + "]; mad.wide.u32 %b, %lane, 32, %g; mad.wide.u32 %a, %lane, 32, %a; { .reg .b32 x<8>; ld.global.v4.b32 {x0, x1, x2, x3}, [%b]; ld.global.v4.b32 {x4, x5, x6, x7}, [%b+16]; st.shared.v4.b32 [%a], {x0, x1, x2, x3}; st.shared.v4.b32 [%a+16], {x4, x5, x6, x7}; } bar.sync 0;"]
row = lambda l: raw[(l * 5 % 32) * 16:(l * 5 % 32) * 16 + 16]      # lane l points at row 5 l mod 32
c.lines.append("mul.lo.u32 %i, %lane, 5; and.b32 %i, %i, 31; mov.u64 %a, sh; mad.wide.u32 %a, %i, 16, %a;")
half = lambda m, r, k: int.from_bytes(row(8 * m + r)[2 * k:2 * k + 2], "little")
for n in (1, 2, 4):
    for trans in ("", ".trans"):
        d = [c.reg(32) for _ in range(n)]
        c.lines.append(f"ldmatrix.sync.aligned.m8n8.x{n}{trans}.shared.b16 {{{', '.join(d)}}}, [%a];")
        for m in range(n):
            g = lambda l, j, m=m: half(m, l // 4, 2 * (l % 4) + j) if not trans else half(m, 2 * (l % 4) + j, l // 4)
            c.store(32, d[m], [g(l, 0) | g(l, 1) << 16 for l in range(32)])
c.lines.append("}")
for n in (1, 2, 4):
    for trans in ("", ".trans"):
        c = Case("stmatrix")
        src = [c.load(32, rot(U32, k)) for k in range(n)]
        mem = [[[0] * 8 for _ in range(8)] for _ in range(n)]
        for m in range(n):
            for l in range(32):
                for j in range(2):
                    i, k = (l // 4, 2 * (l % 4) + j) if not trans else (2 * (l % 4) + j, l // 4)
                    mem[m][i][k] = rot(U32, m)[l] >> 16 * j & M16
        flat = [x for m in mem for r in m for x in r]
        out = c.reg(32)
        words = [flat[2 * i] | flat[2 * i + 1] << 16 for i in range(32 * n)]
        c.lines += [f"{{ .shared .align 16 .b8 sh{c.n}[512]; .reg .u64 %a; mov.u64 %a, sh{c.n}; mad.wide.u32 %a, %lane, 16, %a; stmatrix.sync.aligned.m8n8.x{n}{trans}.shared.b16 [%a], {{{', '.join(src)}}}; bar.sync 0; mov.u64 %a, sh{c.n}; mad.wide.u32 %a, %lane, {4 * n}, %a; ld.shared.u32 {out}, [%a]; }}"]
        c.store(32, out, [words[l * n] for l in range(32)])
c = Case("movmatrix")
el = lambda r, k: U32[4 * r + k // 2] >> 16 * (k % 2) & M16
a, d = c.load(32, U32), c.reg(32)
c.lines.append(f"movmatrix.sync.aligned.m8n8.trans.b16 {d}, {a};")
c.store(32, d, [el(2 * (l % 4), l // 4) | el(2 * (l % 4) + 1, l // 4) << 16 for l in range(32)])

class Random:
    def __init__(self, seed): self.x = seed
    def below(self, n):
        self.x = (self.x * 6364136223846793005 + 1442695040888963407) & M64
        return (self.x >> 33) % n
def mma(opcode, k_n, per, code_a, code_b, c_value, encode_acc, scales=None, a_regs=4, b_regs=2, near=0):
    """code_a() -> (element bits, value). per elements a register; scales: dict or None. near: sums that round; results may be
    2^-near times the sum of magnitudes away from the exact ones; the emulator's orders follow."""
    c = Case(".".join(p for p in opcode.replace("::", "_").split(".") if p not in ("sync", "aligned", "row", "col")) + ".sums" * (near > 0))
    A = [[code_a() for _ in range(k_n)] for _ in range(16)]
    B = [[code_b() for _ in range(k_n)] for _ in range(8)]
    C = [[c_value() for _ in range(8)] for _ in range(16)]
    bits = 32 // per
    def frag(rows, reg, l, is_a):
        g, t = l // 4, l % 4
        r = g + 8 * (reg & 1) if is_a else g
        k0 = per * t + 4 * per * ((reg >> 1) if is_a else reg)
        return sum(rows[r][k0 + j][0] << (bits * j) for j in range(per))
    ra = [c.load(32, [frag(A, i, l, True) for l in range(32)]) for i in range(a_regs)]
    rb = [c.load(32, [frag(B, i, l, False) for l in range(32)]) for i in range(b_regs)]
    rc = [c.load(32, [encode_acc(C[l // 4 + 8 * (i >> 1)][2 * (l % 4) + (i & 1)]) for l in range(32)]) for i in range(4)]
    rd = [c.reg(32) for _ in range(4)]
    text = f"{opcode} {{{', '.join(rd)}}}, {{{', '.join(ra)}}}, {{{', '.join(rb)}}}, {{{', '.join(rc)}}}"
    fa, fb = [[Fraction(1)] * 4 for _ in range(16)], [[Fraction(1)] * 4 for _ in range(8)]
    block = k_n
    if scales:
        ba, ta, bb, tb, n, block = scales["byte_a"], scales["thread_a"], scales["byte_b"], scales["thread_b"], scales["n"], k_n // scales["n"]
        noise = Random(99)
        wa, wb = [noise.below(1 << 32) for _ in range(32)], [noise.below(1 << 32) for _ in range(32)]
        for r in range(16):
            l = 4 * (r & 7) + 2 * ta + (r >> 3)
            for i in range(n):
                code, fa[r][i] = scales["draw"]()
                wa[l] = wa[l] & ~(255 << 8 * (ba + i)) | code << 8 * (ba + i)
        for q in range(8):
            for i in range(n):
                code, fb[q][i] = scales["draw"]()
                wb[4 * q + tb] = wb[4 * q + tb] & ~(255 << 8 * (bb + i)) | code << 8 * (bb + i)
        text += f", {{{c.load(32, wa)}}}, {{{ba}, {ta}}}, {{{c.load(32, wb)}}}, {{{bb}, {tb}}}"
    c.lines.append(text + ";")
    def terms(r, q): return [A[r][k][1] * B[q][k][1] * fa[r][k // block] * fb[q][k // block] for k in range(k_n)]
    def chain(first, list_, mode):            # one rounding an addition
        for x in list_: first = value(decode(encode(Fraction(first + x), "f32", mode), "f32"))
        return first
    def in_order(r, q, mode):
        """The emulator's: products one after another onto C; with scales the sums of blocks one after another, then C."""
        t = terms(r, q)
        if not scales: return chain(C[r][q], t, mode)
        f = lambda i: fa[r][i] * fb[q][i]
        blocks = [t[i * block:(i + 1) * block] for i in range(scales["n"])]
        sums = [sum(b) if per == 8 else chain(Fraction(0), [x / f(i) for x in b], mode) * f(i) for i, b in enumerate(blocks)]
        return chain(chain(Fraction(0), sums, mode), [C[r][q]], mode)
    for i in range(4):
        def each(fn): return [encode_acc(fn(l // 4 + 8 * (i >> 1), 2 * (l % 4) + (i & 1))) for l in range(32)]
        also = {"sum": each(lambda r, q: abs(C[r][q]) + sum(map(abs, terms(r, q)))), "fma": each(lambda r, q: in_order(r, q, "rn")),
                "truncate": each(lambda r, q: in_order(r, q, "rz"))} if near else {}
        c.store(32, rd[i], each(lambda r, q: C[r][q] + sum(terms(r, q))), near=near, **also)
rnd = Random(7)
small_int = lambda fmt: (lambda: (lambda n: (encode(Fraction(n), fmt), Fraction(n)))(rnd.below(17) - 8))
accf = lambda x: encode(Fraction(x), "f32")
for h in ("f16", "bf16"):
    mma(f"mma.sync.aligned.m16n8k16.row.col.f32.{h}.{h}.f32", 16, 2, small_int(h), small_int(h), lambda: rnd.below(200) - 100, accf)
    mma(f"mma.sync.aligned.m16n8k8.row.col.f32.{h}.{h}.f32", 8, 2, small_int(h), small_int(h), lambda: rnd.below(200) - 100, accf, a_regs=2, b_regs=1)
mma("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 8, 1, lambda: (lambda n: (f32(n) | rnd.below(1 << 13), Fraction(n)))(rnd.below(17) - 8), small_int("f32"), lambda: rnd.below(200) - 100, accf)
byte = lambda s: (lambda: (lambda n: (n, n - 256 if s and n > 127 else n))(rnd.below(256)))
for ta in "us":
    for tb in "us":
        mma(f"mma.sync.aligned.m16n8k32.row.col.s32.{ta}8.{tb}8.s32", 32, 4, byte(ta == "s"), byte(tb == "s"), lambda: rnd.below(1 << 20) - (1 << 19), lambda x: int(x) & M32)
def mini(fmt):
    """An element of a byte: code bits and value; FP6 in the low bits, FP4 two bits up."""
    e, m, up, bias = {"e4m3": (4, 3, 0, 7), "e5m2": (5, 2, 0, 15), "e3m2": (3, 2, 0, 3), "e2m3": (2, 3, 0, 1), "e2m1": (2, 1, 2, 1)}[fmt]
    def draw():
        ex = rnd.below(1 << e)
        if fmt == "e5m2": ex = 13 + rnd.below(4)        # near one: sums stay exact
        if fmt == "e4m3": ex = 5 + rnd.below(4)
        man, s = rnd.below(1 << m), rnd.below(2)
        v = (Fraction(man, 1 << m) * Fraction(2) ** (1 - bias) if ex == 0 else (1 + Fraction(man, 1 << m)) * Fraction(2) ** (ex - bias)) * (-1 if s else 1)
        return ((s << e | ex) << m | man) << up, v
    return draw
for a, b in (("e4m3", "e5m2"), ("e5m2", "e4m3"), ("e4m3", "e4m3")):
    mma(f"mma.sync.aligned.m16n8k32.row.col.f32.{a}.{b}.f32", 32, 4, mini(a), mini(b), lambda: rnd.below(64), accf)
for a, b in (("e3m2", "e2m3"), ("e2m1", "e4m3"), ("e2m3", "e2m1"), ("e5m2", "e3m2")):
    mma(f"mma.sync.aligned.kind::f8f6f4.m16n8k32.row.col.f32.{a}.{b}.f32", 32, 4, mini(a), mini(b), lambda: rnd.below(64), accf)
nibble = lambda: (lambda n: (n, E2M1[n & 7] * (-1 if n & 8 else 1)))(rnd.below(16))
ue4m3 = lambda: (lambda n: (n, value(decode(n, "e4m3"))))(0x30 + rnd.below(24))
ue8 = lambda: (lambda n: (n, Fraction(2) ** (n - 127)))(124 + rnd.below(6))
for ta, tb in ((0, 0), (1, 0), (0, 3), (1, 2)):
    mma("mma.sync.aligned.kind::mxf4nvf4.block_scale.scale_vec::4X.m16n8k64.row.col.f32.e2m1.e2m1.f32.ue4m3", 64, 8, nibble, nibble, lambda: rnd.below(64) - 32, accf,
        dict(byte_a=0, thread_a=ta, byte_b=0, thread_b=tb, n=4, draw=ue4m3))
mma("mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3", 64, 8, nibble, nibble, lambda: rnd.below(64) - 32, accf,
    dict(byte_a=0, thread_a=1, byte_b=0, thread_b=1, n=4, draw=ue4m3))
for kind, ba, ta, bb, tb in (("mxf4", 0, 0, 2, 1), ("mxf4", 2, 1, 0, 3), ("mxf4nvf4", 2, 0, 2, 2)):
    mma(f"mma.sync.aligned.kind::{kind}.block_scale.scale_vec::2X.m16n8k64.row.col.f32.e2m1.e2m1.f32.ue8m0", 64, 8, nibble, nibble, lambda: rnd.below(64), accf,
        dict(byte_a=ba, thread_a=ta, byte_b=bb, thread_b=tb, n=2, draw=ue8))
for a, b, ba, ta, bb, tb in (("e4m3", "e4m3", 0, 0, 0, 0), ("e2m1", "e4m3", 3, 1, 2, 3), ("e3m2", "e5m2", 1, 0, 3, 1)):
    mma(f"mma.sync.aligned.kind::mxf8f6f4.block_scale.scale_vec::1X.m16n8k32.row.col.f32.{a}.{b}.f32.ue8m0", 32, 4, mini(a), mini(b), lambda: rnd.below(64), accf,
        dict(byte_a=ba, thread_a=ta, byte_b=bb, thread_b=tb, n=1, draw=ue8))

# sums that round: elements with all their bits, C with all of f32's
def full(fmt, below=3):
    e, m = FORMATS[fmt]
    def draw():
        bits = (rnd.below(2) << e | (1 << e - 1) - below + rnd.below(2 * below)) << m | rnd.below(1 << m)
        return bits, value(decode(bits, fmt))
    return draw
def full_tf32():
    bits, v = full("f32")()
    return bits, value(decode(bits & ~0x1FFF, "f32"))
full_c = lambda: full("f32", 5)()[1]
for h in ("f16", "bf16"):
    mma(f"mma.sync.aligned.m16n8k16.row.col.f32.{h}.{h}.f32", 16, 2, full(h), full(h), full_c, accf, near=20)
mma("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 8, 1, full_tf32, full_tf32, full_c, accf, near=20)
mma("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", 32, 4, full("e4m3"), full("e4m3"), full_c, accf, near=12)
mma("mma.sync.aligned.kind::mxf4nvf4.block_scale.scale_vec::4X.m16n8k64.row.col.f32.e2m1.e2m1.f32.ue4m3", 64, 8, nibble, nibble, full_c, accf,
    dict(byte_a=0, thread_a=0, byte_b=0, thread_b=0, n=4, draw=ue4m3), near=20)
mma("mma.sync.aligned.kind::mxf8f6f4.block_scale.scale_vec::1X.m16n8k32.row.col.f32.e4m3.e4m3.f32.ue8m0", 32, 4, full("e4m3"), full("e4m3"), full_c, accf,
    dict(byte_a=0, thread_a=0, byte_b=0, thread_b=0, n=1, draw=ue8), near=12)

# control
c = Case("bra")
r = c.reg(32)
c.lines += [f"{{ .reg .u32 %i, %s; .reg .pred %q; mov.u32 %i, 0; mov.u32 {r}, 0; loop: setp.ge.u32 %q, %i, %lane; @%q bra done; and.b32 %s, %i, 1; setp.eq.u32 %q, %s, 0; @%q bra.uni even; add.u32 {r}, {r}, 100; bra next; even: add.u32 {r}, {r}, 1; next: add.u32 %i, %i, 1; bra loop; done: }}"]
c.store(32, r, [sum(100 if i & 1 else 1 for i in range(l)) for l in range(32)])
r = c.reg(32)
c.lines.append(f"activemask.b32 {r};")
c.store(32, r, [M32] * 32)
c = Case("ret")
c.store(32, "%lane", list(range(32)))
name = c.buffer("out", 32, [7 if l % 2 else 9 for l in range(32)])
c.lines += [f"{{ .reg .u64 %a; .reg .pred %odd; .reg .u32 %b; ld.param.u64 %a, [{name}]; mad.wide.u32 %a, %lane, 4, %a; st.global.u32 [%a], 9; and.b32 %b, %lane, 1; setp.eq.u32 %odd, %b, 0; @%odd ret; st.global.u32 [%a], 7; }}"]
c = Case("exit")
c.store(32, "%lane", list(range(32)))
c.lines += ["exit;", "{ .reg .u64 %z; mov.u64 %z, 0; st.global.u32 [%z], 1; }"]

keep = os.path.join(folder, "call.ptx")
os.makedirs(folder, exist_ok=True)
for case in Case.all.values():
    if case.lines: case.write()
# functions: one called from two places, one that diverges inside; parameters in order
out = [(l * 3 + 1) * 2 + (l if l % 2 else 100) for l in range(32)]
with open(keep, "w") as f:
    f.write("// call: written by tests/ptx/make_cases.py, format in tests/ptx/README.md\n// launch: block 32\n// out out0 b32:\n"
            + "".join("//  " + " ".join(f"{v:x}" for v in out[i:i + 16]) + "\n" for i in (0, 16)) + """.version 9.0
.target sm_80
.address_size 64
.func (.param .b32 result) twice_plus(.param .b32 x, .param .b32 y)
{
.reg .b32 %r<4>;
ld.param.b32 %r0, [x];
ld.param.b32 %r1, [y];
mad.lo.u32 %r2, %r0, 2, %r1;
st.param.b32 [result], %r2;
ret;
}
.func (.param .b32 result) odd_or(.param .b32 x)
{
.reg .b32 %r<4>;
.reg .pred %p;
ld.param.b32 %r0, [x];
and.b32 %r1, %r0, 1;
setp.eq.u32 %p, %r1, 0;
@%p bra even;
st.param.b32 [result], %r0;
ret;
even:
mov.u32 %r0, 100;
st.param.b32 [result], %r0;
ret;
}
.visible .entry k(
    .param .u64 out0)
{
.reg .b32 %r<8>;
.reg .b64 %d<2>;
mov.u32 %r0, %tid.x;
mad.lo.u32 %r1, %r0, 3, 1;
{ .param .b32 a; .param .b32 r;
st.param.b32 [a], %r0;
call.uni (r), odd_or, (a);
ld.param.b32 %r2, [r];
}
{ .param .b32 a; .param .b32 b; .param .b32 r;
st.param.b32 [a], %r1;
st.param.b32 [b], %r2;
call.uni (r), twice_plus, (a, b);
ld.param.b32 %r3, [r];
}
ld.param.u64 %d0, [out0];
mad.wide.u32 %d0, %r0, 4, %d0;
st.global.u32 [%d0], %r3;
ret;
}
""")
