"""Bessel functions of order 0 and 1, and their exponentially scaled forms.

Each is a polynomial in a variable that runs over [-1, 1] on its interval, times what
the function does at the interval's end: the power series near 0 in x**2, Hankel's
asymptotic forms far away in 1 / x (NIST Digital Library of Mathematical Functions,
chapter 10). The coefficients are those of the interpolants at Chebyshev's points,
computed with 60 digits and cut where float64 shows no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.scalar import Expr
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily, unary_function
from gpugrad.ops.polynomial import at, below, in_float32, is_at, polynomial

family = OpFamily()

_INFINITY = float("inf")

# exp(-x) I(x) for x < 8 (of order 1 over x), in x / 4 - 1; from there on, times
# sqrt(x), in 16 / x - 1.
_I0_NEAR = (
    4.470516727511741e-09, -1.6316042856792757e-08, 2.6265363151970112e-08,
    -8.591406444264668e-08, 3.675842926555429e-07, -1.142045323881917e-06,
    3.2293390826404927e-06, -9.183742586936203e-06, 2.520232727107692e-05,
    -6.556805964401791e-05, 0.00016240542162878106, -0.00038286526498299526,
    0.0008563152748272306, -0.0018119030567637056, 0.003617126448897043,
    -0.006792394790940051, 0.011960077907026221, -0.019682655791721182,
    0.030177912022978357, -0.0429859492954222, 0.05677703201991695,
    -0.06954119563168235, 0.07927522590716347, -0.08496338091541732,
    0.08734341617552313, -0.08904344136077755, 0.09451562853995103,
    -0.11300432688620536, 0.2070019212239867,
)  # fmt: skip
_I0_FAR = (
    -6.067631570603006e-11, -2.0260604287413626e-11, 4.577087631643623e-10,
    1.5279202694981569e-10, -1.618980683624682e-09, -5.715843864202709e-10,
    3.6379546359011143e-09, 1.5200816953924232e-09, -5.95356943826489e-09,
    -3.505966530879332e-09, 7.430464650325426e-09, 7.552583062123384e-09,
    -5.404771567579958e-09, -1.340891754008974e-08, -6.747657956107524e-09,
    7.554691881248808e-09, 2.1548377974791598e-08, 3.932584334552952e-08,
    8.872219737904054e-08, 2.9735985885673923e-07, 1.4838475658279249e-06,
    1.1143033790932038e-05, 0.0001362160743919305, 0.0033605519836678614,
    0.4021765094450081,
)  # fmt: skip
_I1_NEAR = (
    -1.41695079121077e-09, 5.2131237878886215e-09, -8.984420960424589e-09,
    2.987385645901576e-08, -1.2424759932738304e-07, 3.9094375480236725e-07,
    -1.1327072698408053e-06, 3.2758438130588964e-06, -9.136543922789093e-06,
    2.42486684188831e-05, -6.142360299099794e-05, 0.00014841259927108295,
    -0.0003411760289073331, 0.0007445158727006065, -0.00153887456203039,
    0.003005761416447221, -0.005534567847563678, 0.009583962344356725,
    -0.015571309243980052, 0.02368601693352639, -0.03367135552108536,
    0.04467457262306667, -0.055280039226991644, 0.06376740371333643,
    -0.06848260620582691, 0.06805759990951268, -0.061124338029666284,
    0.04468770987560883,
)  # fmt: skip
_I1_FAR = (
    6.305965197150057e-11, 1.8515118828852956e-11, -4.758818838703853e-10,
    -1.4011625179770627e-10, 1.6848984479705146e-09, 5.295625441161261e-10,
    -3.794670896208339e-09, -1.4387250533041013e-09, 6.242741219786445e-09,
    3.4262341490077958e-09, -7.888351507862078e-09, -7.64239413436356e-09,
    5.974437608040264e-09, 1.4034238782067183e-08, 6.734464815301592e-09,
    -8.427766093735185e-09, -2.337392820814264e-08, -4.312917729178349e-08,
    -1.0001288294864884e-07, -3.483855761044295e-07, -1.8349101326980946e-06,
    -1.5038547200567216e-05, -0.00021923576383388928, -0.009749577193235737,
    0.38939845902587233,
)  # fmt: skip
# For x < 2, in x**2 / 2 - 1: I0(x) and I1(x) / x; K0(x) + log(x / 2) I0(x) and
# x (K1(x) - log(x / 2) I1(x)). From there on exp(x) sqrt(x) K(x), in 4 / x - 1.
_I0_SMALL = (
    1.5591722255510926e-14, 2.5398791970311194e-12, 3.27324784353647e-10,
    3.236227352376538e-08, 2.3575789878938216e-06, 0.0001198206858163441,
    0.0039285651056368085, 0.07358986836105334, 0.6358617281560686, 1.5660829297563506,
)  # fmt: skip
_I1_SMALL = (
    1.4032637886429537e-13, 2.031922759238477e-11, 2.291273488938041e-09,
    1.9417364085156806e-07, 1.1787894939469932e-05, 0.00047928274326549763,
    0.011785695316910426, 0.14717973672210669, 0.6358617281560686,
)  # fmt: skip
_K0_NEAR = (
    3.518631515854722e-14, 5.452564662772586e-12, 6.623013272794453e-10,
    6.093361894172114e-08, 4.054506619949891e-06, 0.0001828055582791554,
    0.005053392643196092, 0.07177701034240509, 0.3404973210133806, -0.30362077291575545,
)  # fmt: skip
_K1_NEAR = (
    -3.5962181014457795e-15, -6.214271617329577e-13, -8.53273511404978e-11,
    -9.032127501740678e-09, -7.081133770184678e-07, -3.891869064371633e-05,
    -0.0013831688466153064, -0.02785423521977184, -0.24383852886774365,
    -0.3322409552403131, 0.8850882877295894,
)  # fmt: skip
_K0_FAR = (
    -6.910453875670571e-11, 1.0926983537268735e-10, 2.213758097591008e-10,
    -3.119936129682105e-10, -5.541051446065683e-10, 8.133913205464114e-10,
    1.7887095838476482e-10, 4.757544705776374e-11, -1.9309444875845705e-09,
    3.808399859919043e-09, -7.286380907337665e-09, 1.7047535884249698e-08,
    -4.133923052104385e-08, 1.02954317593912e-07, -2.6890662472901614e-07,
    7.427801232190096e-07, -2.191177788015528e-06, 7.002245645755651e-06,
    -2.4735204561466906e-05, 9.95605474202942e-05, -0.0004797690567662314,
    0.0030328918102753206, -0.03107146182488952, 1.2185953385133905,
)  # fmt: skip
_K1_FAR = (
    7.52479548635394e-11, -1.1931668393112158e-10, -2.399376595899464e-10,
    3.3867804167808003e-10, 6.042482293782838e-10, -8.908596710923906e-10,
    -1.7982138496175016e-10, -8.336227195991456e-11, 2.1757782025837176e-09,
    -4.331939985658629e-09, 8.40938756536177e-09, -1.9817577141591116e-08,
    4.8461952200091865e-08, -1.2203186351938403e-07, 3.2298119177151824e-07,
    -9.067087633371393e-07, 2.730041433569803e-06, -8.961207387750025e-06,
    3.284386555825453e-05, -0.00013959021956272223, 0.0007357241549081501,
    -0.005566729880074588, 0.10334973775386523, 1.363151890371342,
)  # fmt: skip
# For x < 8, in x**2 / 32 - 1: J0(x), J1(x) / x, Y0(x) - 2 / pi log(x) J0(x) and
# (Y1(x) - 2 / pi (log(x) J1(x) - 1 / x)) / x. From there on the amplitudes P and
# Q x / 8 of sqrt(2 / (pi x)) (P cos(a) - Q sin(a)), which is J(x), and of
# sqrt(2 / (pi x)) (P sin(a) + Q cos(a)), which is Y(x), in 128 / x**2 - 1, where a is
# x - pi / 4 for order 0 and x - 3 pi / 4 for order 1.
_J0_NEAR = (
    4.0037632815796753e-13, -1.243301171273326e-11, 3.3634475788173604e-10,
    -7.91532308295207e-09, 1.5956109104549218e-07, -2.717749223632098e-06,
    3.8473197855944365e-05, -0.0004435459224311503, 0.004058078989140991,
    -0.028472718610882047, 0.14598884856759264, -0.5074680458471, 1.0383794611437211,
    -0.8080888076696872, -0.6484692830871837, 0.9303012472958572, 0.04582966485981377,
)  # fmt: skip
_J1_NEAR = (
    -4.0045728425886457e-13, 1.1658972367678622e-11, -2.943013798001659e-10,
    6.431190177265836e-09, -1.196708186787801e-07, 1.8684526037206013e-06,
    -2.404574865968694e-05, 0.0002494945813597261, -0.0020290394945705996,
    0.012456814392263375, -0.05474581821284722, 0.15858376432721838,
    -0.2595948652859303, 0.15151665143806636, 0.08105866038589796, -0.05814382795599107,
)  # fmt: skip
_Y0_NEAR = (
    -8.840112096073101e-13, 2.6926938054524057e-11, -7.13046146536789e-10,
    1.6390875014077404e-08, -3.2185078445935923e-07, 5.3213188103997145e-06,
    -7.279541882454115e-05, 0.000806158605961636, -0.00702574105727097,
    0.046367047681375125, -0.21895747096171628, 0.6721770783431679, -1.0775477338215995,
    0.14412632369302475, 1.6470964788745466, -0.8284358903604587, -0.382250654459425,
)  # fmt: skip
_Y1_NEAR = (
    8.760001143977853e-13, -2.499531546171249e-11, 6.169688029066965e-10,
    -1.3153147367094951e-08, 2.3804930420514178e-07, -3.601000022590458e-06,
    4.467433012646365e-05, -0.0004438173434420147, 0.0034224907399188495,
    -0.01962875683311711, 0.07854786922242532, -0.19639839859930203,
    0.23507209206669755, 0.02336757172099348, -0.24337743079193114, 0.07075985882118005,
)  # fmt: skip
_P0 = (
    3.339452259070809e-14, -1.0251790052831013e-13, 2.4531772967345006e-13,
    -1.0157485021065676e-12, 4.786995821368028e-12, -2.491146535471666e-11,
    1.5500565496632596e-10, -1.2121098178951377e-09, 1.280376144080092e-08,
    -2.0527448261170675e-07, 6.137416080109497e-06, -0.0005363673192129672,
    0.9994572757882519,
)  # fmt: skip
_Q0 = (
    2.1449029578293448e-15, -5.071762053003792e-15, 4.687981531507901e-15,
    -1.642189437353317e-14, 6.962833501774959e-14, -2.34205092942912e-13,
    8.597568595721077e-13, -3.5884013838881433e-12, 1.7033142359521874e-11,
    -9.4704131236215e-11, 6.432781585673823e-10, -5.668716046704292e-09,
    7.106214859523438e-08, -1.477138832650122e-06, 6.833149099343887e-05,
    -0.015555113879513518,
)  # fmt: skip
_P1 = (
    -3.5455617466606254e-14, 1.0923713653079462e-13, -2.6335760672461096e-13,
    1.0954826479277623e-12, -5.191158004646548e-12, 2.72345126828134e-11,
    -1.713107485294131e-10, 1.3602969253877949e-09, -1.4708512991275258e-08,
    2.453676633366693e-07, -7.9596946984383e-06, 0.0008988049416705183,
    1.0009070262780821,
)  # fmt: skip
_Q1 = (
    5.344527277743522e-15, -1.3449019339973269e-14, 1.7495330566839966e-14,
    -6.144675787095688e-14, 2.503410968458231e-13, -9.33138059712287e-13,
    3.875456046538219e-12, -1.8520736145988993e-11, 1.0395096687547827e-10,
    -7.151113611051071e-10, 6.420132496338991e-09, -8.291960701313517e-08,
    1.8212018512314264e-06, -9.621458822054632e-05, 0.04677687402744898,
)  # fmt: skip

# --- the functions --------------------------------------------------------------------


def _i_scaled(order: int) -> Callable[[Expr], Expr]:
    near, far = ((_I0_NEAR, _I0_FAR), (_I1_NEAR, _I1_FAR))[order]

    def function(x: Expr) -> Expr:
        size = scalar.abs_(x)
        inner = polynomial(near, size * 0.25 - 1)
        if order == 1:
            inner = inner * size
        outer = polynomial(far, 16 / size - 1) * scalar.rsqrt(size)
        value = below(size, 8, inner, outer)
        return value if order == 0 else value * scalar.sign(x)

    return function


def _i(order: int) -> Callable[[Expr], Expr]:
    scaled = _i_scaled(order)

    def function(x: Expr) -> Expr:
        size = scalar.abs_(x)
        # In two steps: exp(x) overflows before the function does.
        half = scalar.exp(size * 0.5)
        value = scaled(x) * half * half
        return at(size, _INFINITY, _INFINITY, value) if order == 0 else _odd(x, value)

    return function


def _odd(x: Expr, value: Expr) -> Expr:
    """``value``, and x itself where that is infinite."""
    return scalar.select(scalar.isinf(x), x, value)


def _k(order: int, scaled: bool) -> Callable[[Expr], Expr]:
    near, far = ((_K0_NEAR, _K0_FAR), (_K1_NEAR, _K1_FAR))[order]
    small = (_I0_SMALL, _I1_SMALL)[order]

    def function(x: Expr) -> Expr:
        t = x * x * 0.5 - 1
        logarithm = scalar.log(x * 0.5)
        if order == 0:
            inner = polynomial(near, t) - logarithm * polynomial(small, t)
        else:
            inner = polynomial(near, t) / x + logarithm * polynomial(small, t) * x
        outer = polynomial(far, 4 / x - 1) * scalar.rsqrt(x)
        inner, outer = (
            (inner * scalar.exp(x), outer) if scaled else (inner, outer * _decay(x))
        )
        value = below(x, 2, inner, outer)
        positive = scalar.logical_or(scalar.greater(x, 0), scalar.isnan(x))
        return scalar.select(positive, at(x, _INFINITY, 0, value), _inf_like(x))

    return function


def _decay(x: Expr) -> Expr:
    return scalar.exp(-x)


def _inf_like(x: Expr, sign: int = 1) -> Expr:
    return scalar.Lit(sign * _INFINITY, x.dtype)


def _waves(order: int, x: Expr) -> tuple[Expr, Expr]:
    """J and Y of this order for x from 8 on."""
    p, q = ((_P0, _Q0), (_P1, _Q1))[order]
    inverse = 8 / x
    t = 2 * inverse * inverse - 1
    height = scalar.rsqrt(x) * sqrt(1 / pi)
    p_part = polynomial(p, t) * height
    q_part = polynomial(q, t) * inverse * height
    # sqrt(2) times cosine and sine of a, which x - pi / 4 would round.
    sine, cosine = scalar.sin(x), scalar.cos(x)
    plus, minus = sine + cosine, sine - cosine
    c, s = (plus, minus) if order == 0 else (minus, -plus)
    return p_part * c - q_part * s, p_part * s + q_part * c


def _j(order: int) -> Callable[[Expr], Expr]:
    near = (_J0_NEAR, _J1_NEAR)[order]

    def function(x: Expr) -> Expr:
        size = scalar.abs_(x)
        inner = polynomial(near, size * size * (1 / 32) - 1)
        if order == 1:
            inner = inner * size
        outer = at(size, _INFINITY, 0, _waves(order, size)[0])
        value = below(size, 8, inner, outer)
        return value if order == 0 else value * scalar.sign(x)

    return function


def _y(order: int) -> Callable[[Expr], Expr]:
    near, regular = ((_Y0_NEAR, _J0_NEAR), (_Y1_NEAR, _J1_NEAR))[order]

    def function(x: Expr) -> Expr:
        t = x * x * (1 / 32) - 1
        singular = polynomial(regular, t) * scalar.log(x) * (2 / pi)
        inner = polynomial(near, t) + singular
        if order == 1:
            inner = inner * x - (2 / pi) / x
        outer = at(x, _INFINITY, 0, _waves(order, x)[1])
        value = below(x, 8, inner, outer)
        positive = scalar.logical_or(scalar.greater(x, 0), scalar.isnan(x))
        return scalar.select(positive, value, _inf_like(x, -1))

    return function


# --- the ops --------------------------------------------------------------------------

FUNCTIONS = {
    op_type: in_float32(function)
    for op_type, function in {
        "BesselI0": _i(0),
        "BesselI1": _i(1),
        "BesselI0e": _i_scaled(0),
        "BesselI1e": _i_scaled(1),
        "BesselK0": _k(0, False),
        "BesselK1": _k(1, False),
        "BesselK0e": _k(0, True),
        "BesselK1e": _k(1, True),
        "BesselJ0": _j(0),
        "BesselJ1": _j(1),
        "BesselY0": _y(0),
        "BesselY1": _y(1),
    }.items()
}
for _type, _function in FUNCTIONS.items():
    family.elementwise(_type, "x", _function, types=rules.FLOATS)


def _over_x(op: Any) -> Tensor:
    """y / x for a y that is x / 2 near 0. TensorFlow's slope of I1 at 0 misses that."""
    (x,), (y,) = op.inputs, op.outputs
    zero = is_at(x, 0)
    apply = op.graph.apply
    one, half = (rules.const(op.graph, v, x.dtype) for v in (1, 0.5))
    ratio = y / apply("SelectV2", zero, one, x)
    result: Tensor = apply("SelectV2", zero, half, ratio)
    return result


@family.gradient("BesselI0", after=True)
def _i0_grad(op: Any, dy: Tensor) -> Any:
    return dy * op.graph.apply("BesselI1", op.inputs[0])


@family.gradient("BesselI1", after=True)
def _i1_grad(op: Any, dy: Tensor) -> Any:
    return dy * (op.graph.apply("BesselI0", op.inputs[0]) - _over_x(op))


@family.gradient("BesselI0e", after=True)
def _i0e_grad(op: Any, dy: Tensor) -> Any:
    x, apply = op.inputs[0], op.graph.apply
    return dy * (apply("BesselI1e", x) - apply("Sign", x) * op.outputs[0])


@family.gradient("BesselI1e", after=True)
def _i1e_grad(op: Any, dy: Tensor) -> Any:
    x, apply = op.inputs[0], op.graph.apply
    inner = apply("BesselI0e", x) - apply("Sign", x) * op.outputs[0]
    return dy * (inner - _over_x(op))


@family.gradient("BesselK0", after=True)
def _k0_grad(op: Any, dy: Tensor) -> Any:
    return dy * -op.graph.apply("BesselK1", op.inputs[0])


@family.gradient("BesselK1", after=True)
def _k1_grad(op: Any, dy: Tensor) -> Any:
    (x,), (y,) = op.inputs, op.outputs
    return dy * (-op.graph.apply("BesselK0", x) - y / x)


@family.gradient("BesselK0e", after=True)
def _k0e_grad(op: Any, dy: Tensor) -> Any:
    return dy * (op.outputs[0] - op.graph.apply("BesselK1e", op.inputs[0]))


@family.gradient("BesselK1e", after=True)
def _k1e_grad(op: Any, dy: Tensor) -> Any:
    (x,), (y,) = op.inputs, op.outputs
    return dy * (y - y / x - op.graph.apply("BesselK0e", x))


@family.gradient("BesselJ0", after=True)
def _j0_grad(op: Any, dy: Tensor) -> Any:
    return dy * -op.graph.apply("BesselJ1", op.inputs[0])


@family.gradient("BesselJ1", after=True)
def _j1_grad(op: Any, dy: Tensor) -> Any:
    return dy * (op.graph.apply("BesselJ0", op.inputs[0]) - _over_x(op))


@family.gradient("BesselY0", after=True)
def _y0_grad(op: Any, dy: Tensor) -> Any:
    return dy * -op.graph.apply("BesselY1", op.inputs[0])


@family.gradient("BesselY1", after=True)
def _y1_grad(op: Any, dy: Tensor) -> Any:
    (x,), (y,) = op.inputs, op.outputs
    return dy * (op.graph.apply("BesselY0", x) - y / x)


# --- the functions' names -------------------------------------------------------------


_OF_K = "infinite for x <= 0, as in TensorFlow."
_OF_Y = "minus infinity for x <= 0, as in TensorFlow."
bessel_i0 = unary_function("bessel_i0", "BesselI0", "Modified Bessel function I0(x).")
bessel_i1 = unary_function("bessel_i1", "BesselI1", "Modified Bessel function I1(x).")
bessel_i0e = unary_function("bessel_i0e", "BesselI0e", "exp(-|x|) I0(x).")
bessel_i1e = unary_function("bessel_i1e", "BesselI1e", "exp(-|x|) I1(x).")
bessel_k0 = unary_function(
    "bessel_k0", "BesselK0", f"Modified Bessel function K0(x): {_OF_K}"
)
bessel_k1 = unary_function(
    "bessel_k1", "BesselK1", f"Modified Bessel function K1(x): {_OF_K}"
)
bessel_k0e = unary_function("bessel_k0e", "BesselK0e", f"exp(x) K0(x): {_OF_K}")
bessel_k1e = unary_function("bessel_k1e", "BesselK1e", f"exp(x) K1(x): {_OF_K}")
bessel_j0 = unary_function(
    "bessel_j0", "BesselJ0", "Bessel function of the first kind J0(x)."
)
bessel_j1 = unary_function(
    "bessel_j1", "BesselJ1", "Bessel function of the first kind J1(x)."
)
bessel_y0 = unary_function(
    "bessel_y0", "BesselY0", f"Bessel function of the second kind Y0(x): {_OF_Y}"
)
bessel_y1 = unary_function(
    "bessel_y1", "BesselY1", f"Bessel function of the second kind Y1(x): {_OF_Y}"
)
