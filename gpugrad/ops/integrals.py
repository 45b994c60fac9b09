"""Integrals without a closed form: Dawson's, Fresnel's, Ei and the dilogarithm.

Polynomials on intervals as in gpugrad/ops/bessel.py, with the asymptotic forms of
NIST's Digital Library of Mathematical Functions, chapters 6, 7 and 25.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial, pi
from typing import Any

from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.scalar import Expr, Lit
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily, unary_function
from gpugrad.ops.polynomial import at, below, in_float32, is_at, polynomial

family = OpFamily()

_INFINITY, _NAN = float("inf"), float("nan")
_EULER = 0.57721566490153286061


FUNCTIONS: dict[str, Callable[[Expr], Expr]] = {}


def _declare(op_type: str, function: Callable[[Expr], Expr]) -> None:
    FUNCTIONS[op_type] = in_float32(function)
    family.elementwise(op_type, "x", FUNCTIONS[op_type], types=rules.FLOATS)


# --- Dawsn ----------------------------------------------------------------------------
# F(x) / x for x < 2, in x**2 / 2 - 1; F(x) for x < 5, in (x - 3.5) / 1.5; x F(x) from
# there on, in 50 / x**2 - 1.
_DAWSN_NEAR = (
    1.2578314721692223e-12, -1.1700751531420774e-11, 9.736711101141047e-11,
    -8.062635004396898e-10, 6.285498274452071e-09, -4.579941427010686e-08,
    3.109377090460138e-07, -1.95661071797833e-06, 1.1341501288795027e-05,
    -6.012301940925074e-05, 0.00028899985344161465, -0.001246695644740535,
    0.004765804899072691, -0.01589123606419454, 0.0452947205434806,
    -0.10747975160585002, 0.20497987582912758, -0.29998509320676114, 0.3199940372827045,
)  # fmt: skip
_DAWSN_MIDDLE = (
    -5.691988558073829e-10, -1.3190104039458022e-09, 1.0836315985225097e-08,
    5.228414586433069e-10, -7.782817233186001e-08, 1.2476612776916328e-07,
    1.514466610404754e-07, -8.955007835339953e-07, 1.313615067678973e-06,
    1.0033243074249983e-06, -8.1477091284328e-06, 1.4862772430321858e-05,
    -2.1089743536663194e-06, -5.1276034781321434e-05, 0.00012715166237957942,
    -0.00012574806953166088, -0.00010217365505719266, 0.0006016722299493254,
    -0.0011314381568350957, 0.0011692689758114265, -0.00021398735498122858,
    -0.0018392342361483606, 0.004671968524055815, -0.008040228847450847,
    0.012531242611525434, -0.02030597848557603, 0.036241734144999184,
    -0.07102672734794313, 0.14962159308075648,
)  # fmt: skip
_DAWSN_FAR = (
    -7.79233672547605e-13, 6.485816457361582e-13, 6.386438467203229e-12,
    -3.715985339495415e-13, -2.11923110820338e-11, -1.6043943641803833e-11,
    1.8857320104916387e-11, 3.9207372919757854e-11, 4.632075976841293e-11,
    8.667866416584976e-11, 2.2681191946910722e-10, 7.340292849014575e-10,
    3.0023190433528102e-09, 1.549510731886928e-08, 1.018282722931164e-07,
    8.731655993199014e-07, 1.0207780163649755e-05, 0.00017621830990714445,
    0.005324873173532209, 0.50515807824593,
)  # fmt: skip


def _dawsn(x: Expr) -> Expr:
    size = scalar.abs_(x)
    square = size * size
    near = polynomial(_DAWSN_NEAR, square * 0.5 - 1) * size
    middle = polynomial(_DAWSN_MIDDLE, (size - 3.5) * (1 / 1.5))
    far = polynomial(_DAWSN_FAR, 50 / square - 1) / size
    return scalar.sign(x) * below(size, 2, near, below(size, 5, middle, far))


_declare("Dawsn", _dawsn)


@family.gradient("Dawsn", after=True)
def _dawsn_grad(op: Any, dy: Tensor) -> Any:
    return dy * (1.0 - 2 * op.inputs[0] * op.outputs[0])


dawsn = unary_function(
    "dawsn", "Dawsn", "Dawson's integral: exp(-x**2) times that of exp(t**2), 0 to x."
)


# --- Expint ---------------------------------------------------------------------------
# (Ei(x) - log(x) - Euler's constant) / x for x < 4, in x / 2 - 1; x exp(-x) Ei(x) for
# x < 10, in (x - 7) / 3, for x < 20, in (x - 15) / 5, and beyond, in 40 / x - 1.
_EI_NEAR = (
    7.228450256223004e-12, 6.833361579364074e-11, 5.809436324924263e-10,
    4.894402070863072e-09, 3.8822173957239855e-08, 2.879735288004732e-07,
    1.9907068442756712e-06, 1.2755653816303353e-05, 7.527810128744267e-05,
    0.0004060997227308975, 0.001984515346706581, 0.008687536545886648,
    0.03359548512648148, 0.11270638483790268, 0.3201709526175646, 0.7446717305375425,
    1.3525922941951192, 1.841935755270206,
)  # fmt: skip
_EI_MIDDLE = (
    1.1377177142012539e-10, -2.890531476949759e-10, 6.05453679520638e-11,
    -2.768981315799592e-10, 2.8550566408923535e-09, -7.953721378904793e-09,
    2.0086036887254046e-08, -6.081984225958628e-08, 1.864452029142306e-07,
    -5.469869178585564e-07, 1.5080801376147124e-06, -3.682024310875482e-06,
    6.898315285155811e-06, -4.156671369829743e-06, -4.082980611884075e-05,
    0.0002533205858972676, -0.0009490377793684667, 0.0026555990368766803,
    -0.005602471863773825, 0.00795162601576735, -0.003011093360432084,
    -0.020886012192392656, 0.07202588258742108, -0.14333499178422265, 1.222408052360531,
)  # fmt: skip
_EI_BEYOND = (
    -2.894996802094719e-11, 3.318931869882605e-11, 2.8557003275136697e-10,
    -1.4349188092168565e-09, 5.610323899408536e-09, -2.1101651924165035e-08,
    6.977033913194093e-08, -1.999245776360565e-07, 4.913569724864472e-07,
    -9.75543765235054e-07, 1.2403790393641497e-06, 8.227471022787281e-07,
    -1.2135728222176418e-05, 5.088765855119907e-05, -0.0001583727578871017,
    0.0004209048579179829, -0.0010184538492966535, 0.0023548671354553723,
    -0.005422160139711957, 0.012783663350072024, -0.031147834468749625,
    1.0781031073861607,
)  # fmt: skip
_EI_FAR = (
    -5.870933825141921e-11, 2.509682199522681e-10, 5.19204979090318e-10,
    -1.8769642855113966e-09, -2.2831781132711035e-09, 6.463017202952277e-09,
    6.865497620112377e-09, -1.339174823498297e-08, -1.6187165214085653e-08,
    1.688867747068926e-08, 3.0873854706433335e-08, -4.911117389879204e-09,
    -4.098014289941122e-08, -3.2989348123262124e-08, 4.951506491282278e-09,
    4.2717686068649656e-08, 7.517445157256726e-08, 1.2815492719986396e-07,
    2.839829636555728e-07, 8.677306248298396e-07, 3.5734606004616567e-06,
    1.9684797562766976e-05, 0.00014809035637086598, 0.001602747523189799,
    0.027825946121226533, 1.0263545114390058,
)  # fmt: skip


def _expint(x: Expr) -> Expr:
    near = polynomial(_EI_NEAR, x * 0.5 - 1) * x + scalar.log(x) + _EULER
    middle = polynomial(_EI_MIDDLE, (x - 7) * (1 / 3))
    beyond = polynomial(_EI_BEYOND, (x - 15) * 0.2)
    far = polynomial(_EI_FAR, 40 / x - 1)
    scaled = below(x, 10, middle, below(x, 20, beyond, far))
    # In two steps: exp(x) overflows before the integral does.
    half = scalar.exp(x * 0.5)
    value = below(x, 4, near, scaled / x * half * half)
    value = at(x, _INFINITY, _INFINITY, value)
    return below(x, 0, Lit(_NAN, x.dtype), value)


_declare("Expint", _expint)


@family.gradient("Expint", after=True)
def _expint_grad(op: Any, dy: Tensor) -> Any:
    (x,) = op.inputs
    return dy * (op.graph.apply("Exp", x) / x)


expint = unary_function(
    "expint",
    "Expint",
    "The exponential integral Ei: that of exp(t) / t, -infinity to x. NaN for x < 0.",
)


# --- FresnelCos, FresnelSin -----------------------------------------------------------
# For x < 1.5 in 2 (x / 1.5)**4 - 1: C(x) / x and S(x) / x**3. From there on in
# 4.5 / x**2 - 1: f pi x and g pi**2 x**3, where with a = pi / 2 x**2
# C(x) = 1/2 + f sin(a) - g cos(a) and S(x) = 1/2 - f cos(a) - g sin(a).
_C_NEAR = (
    -9.841734630350274e-15, 7.903992798368805e-13, -5.257682445125931e-11,
    2.8428199115550984e-09, -1.2189463302692873e-07, 4.019013747386435e-06,
    -9.786733752727695e-05, 0.001665787205011, -0.0183018312057431, 0.11464907315830586,
    -0.33317978749623606, 0.5321015097925993,
)  # fmt: skip
_S_NEAR = (
    5.701683306944383e-14, -4.1824336065981076e-12, 2.518325929404381e-10,
    -1.2191997668511405e-08, 4.6177062499591426e-07, -1.3218316630193985e-05,
    0.00027319592380436916, -0.0038273603282742877, 0.033158344302986954,
    -0.15462472879775477, 0.3317014537101536,
)  # fmt: skip
_F_FAR = (
    -9.543393985193702e-09, 6.336569633808299e-09, 7.629791370497676e-08,
    -5.795450641797355e-08, -2.5752090901980263e-07, 2.086326516278353e-07,
    4.986130113191948e-07, -4.073588756763967e-07, -6.510560488845026e-07,
    5.267134197087179e-07, 5.97947846008319e-07, -4.86551258093422e-07,
    -3.585425471076567e-07, 2.469937907707838e-07, 2.6230655028613864e-07,
    -2.1578234224932176e-07, -3.4197633793885996e-08, 1.6290296495934127e-07,
    -4.38796620700985e-07, 1.0588374159167425e-06, -1.9385118008793326e-06,
    2.6430722113739187e-06, -1.7722065466023581e-06, -4.14766873790295e-06,
    2.1665017543395085e-05, -5.814239329147519e-05, 0.00010350796031089314,
    -5.528446057743191e-05, -0.0005131757074102673, 0.00279111657642115,
    -0.007192939253621746, -0.023383841037551367, 0.9868783540516619,
)  # fmt: skip
_G_FAR = (
    2.2919468504786446e-07, -2.7036524922017274e-07, -1.7503965779306395e-06,
    2.1282449737436524e-06, 5.93125157179273e-06, -7.349187817065495e-06,
    -1.2067677051540349e-05, 1.5033427387510961e-05, 1.6775896993209423e-05,
    -2.0827705537736638e-05, -1.6661106350759036e-05, 2.051908583068835e-05,
    1.217404494762754e-05, -1.457320862399064e-05, -7.256164194259927e-06,
    8.637622439184803e-06, 2.0967607765990806e-06, -2.5534215959930937e-06,
    -9.88353947293335e-07, -5.442873954233572e-07, 4.891804130266578e-06,
    -9.958645249175285e-06, 1.607528894976073e-05, -2.0526389633220395e-05,
    1.4305901290272158e-05, 2.0877265342564168e-05, -0.00011425453701159487,
    0.00029365197050926765, -0.0005254952628929642, 0.0005316097294746533,
    0.0006339664420210955, -0.0051714259655852805, 0.01543241037597636,
    -0.019217996809657075, -0.09892328012714294, 0.9401106719765593,
)  # fmt: skip


def _fresnel(sine: bool) -> Callable[[Expr], Expr]:
    def function(x: Expr) -> Expr:
        size = scalar.abs_(x)
        square = size * size
        t = square * square * (2 / 1.5**4) - 1
        near: Expr = polynomial(_S_NEAR if sine else _C_NEAR, t) * size
        if sine:
            near = near * square
        inverse = 1 / size
        t = inverse * inverse * 4.5 - 1
        f = polynomial(_F_FAR, t) * inverse * (1 / pi)
        g = polynomial(_G_FAR, t) * inverse * inverse * inverse * (1 / pi**2)
        # The angle less whole turns, of which x**2 has one in 4.
        angle = (square - 4 * scalar.rint(square * 0.25)) * (pi / 2)
        s, c = scalar.sin(angle), scalar.cos(angle)
        far: Expr = 0.5 - f * c - g * s if sine else 0.5 + f * s - g * c
        # f and g are nothing beside 1/2 long before x**2 overflows.
        far = scalar.select(scalar.greater(size, 1e17), Lit(0.5, x.dtype), far)
        return scalar.sign(x) * below(size, 1.5, near, far)

    return function


_declare("FresnelCos", _fresnel(False))
_declare("FresnelSin", _fresnel(True))


@family.gradient("FresnelCos", after=True)
def _fresnel_cos_grad(op: Any, dy: Tensor) -> Any:
    (x,), apply = op.inputs, op.graph.apply
    return dy * apply("Cos", apply("Square", x) * (pi / 2))


@family.gradient("FresnelSin", after=True)
def _fresnel_sin_grad(op: Any, dy: Tensor) -> Any:
    (x,), apply = op.inputs, op.graph.apply
    return dy * apply("Sin", apply("Square", x) * (pi / 2))


fresnel_cos = unary_function(
    "fresnel_cos", "FresnelCos", "Fresnel's integral of cos(pi / 2 t**2), 0 to x."
)
fresnel_sin = unary_function(
    "fresnel_sin", "FresnelSin", "Fresnel's integral of sin(pi / 2 t**2), 0 to x."
)


# --- Spence ---------------------------------------------------------------------------
# With u = -log(x), -Li2 is -u + u**2 / 4 - sum of B(2k) u**(2k + 1) / (2k + 1)!, where
# B are Bernoulli's numbers; for x within 1/2 .. 2, where u is small.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_SERIES = tuple(b / factorial(2 * k + 1) for k, b in enumerate(_BERNOULLI, 1))[::-1]


def _dilogarithm(x: Expr) -> Expr:
    """Li2(1 - x) for x in 1/2 .. 2."""
    u = -scalar.log(x)
    square = u * u
    return u + square * (polynomial(_SERIES, square) * u - 0.25)


def _spence(x: Expr) -> Expr:
    # Beyond 2 by x -> 1/x, below 1/2 by x -> 1 - x.
    large = scalar.greater(x, 2)
    inner = scalar.select(large, 1 / x, x)
    small = scalar.less(inner, 0.5)
    value: Expr = _dilogarithm(scalar.select(small, 1 - inner, inner))
    log_inner = scalar.log(inner)
    mirrored: Expr = pi**2 / 6 - log_inner * scalar.log1p(-inner) - value
    mirrored = at(inner, 0, pi**2 / 6, mirrored)
    value = scalar.select(small, mirrored, value)
    logarithm = scalar.log(x)
    return scalar.select(large, -value - 0.5 * logarithm * logarithm, value)


_declare("Spence", _spence)


@family.gradient("Spence", after=True)
def _spence_grad(op: Any, dy: Tensor) -> Any:
    (x,), apply = op.inputs, op.graph.apply
    one = is_at(x, 1)
    rest = apply("SelectV2", one, rules.const(op.graph, -1, x.dtype), 1.0 - x)
    slope = apply("SelectV2", one, (x - 3.0) / 2.0, apply("Log", x) / rest)
    return dy * slope


spence = unary_function(
    "spence", "Spence", "Spence's dilogarithm: minus that of log(t) / (t - 1), 1 to x."
)
