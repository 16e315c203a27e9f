//! Dual numbers: a value with its derivative in one direction.

use std::ops::{Add, Div, Mul, Neg, Sub};

#[derive(Clone, Copy, Debug)]
pub struct Dual {
    pub v: f64,
    pub d: f64,
}

pub fn constant(v: f64) -> Dual {
    Dual { v, d: 0.0 }
}

impl Dual {
    pub fn exp(self) -> Dual {
        Dual {
            v: self.v.exp(),
            d: self.d * self.v.exp(),
        }
    }

    /// `torch.minimum`: a tie takes half of each.
    pub fn min(self, other: Dual) -> Dual {
        if self.v == other.v {
            Dual {
                v: self.v,
                d: (self.d + other.d) / 2.0,
            }
        } else {
            self.pick(other, self.v < other.v)
        }
    }

    /// `torch.clamp`: the bounds themselves belong to the inside.
    pub fn clamp(self, low: f64, high: f64) -> Dual {
        if self.v < low {
            constant(low)
        } else if self.v > high {
            constant(high)
        } else {
            self
        }
    }

    fn pick(self, other: Dual, first: bool) -> Dual {
        if first { self } else { other }
    }
}

impl Add for Dual {
    type Output = Dual;
    fn add(self, o: Dual) -> Dual {
        Dual {
            v: self.v + o.v,
            d: self.d + o.d,
        }
    }
}

impl Sub for Dual {
    type Output = Dual;
    fn sub(self, o: Dual) -> Dual {
        Dual {
            v: self.v - o.v,
            d: self.d - o.d,
        }
    }
}

impl Neg for Dual {
    type Output = Dual;
    fn neg(self) -> Dual {
        Dual {
            v: -self.v,
            d: -self.d,
        }
    }
}

impl Mul for Dual {
    type Output = Dual;
    fn mul(self, o: Dual) -> Dual {
        Dual {
            v: self.v * o.v,
            d: self.d * o.v + self.v * o.d,
        }
    }
}

impl Mul<f64> for Dual {
    type Output = Dual;
    fn mul(self, o: f64) -> Dual {
        Dual {
            v: self.v * o,
            d: self.d * o,
        }
    }
}

impl Div for Dual {
    type Output = Dual;
    fn div(self, o: Dual) -> Dual {
        Dual {
            v: self.v / o.v,
            d: (self.d * o.v - self.v * o.d) / (o.v * o.v),
        }
    }
}

impl Div<f64> for Dual {
    type Output = Dual;
    fn div(self, o: f64) -> Dual {
        Dual {
            v: self.v / o,
            d: self.d / o,
        }
    }
}

impl std::iter::Sum for Dual {
    fn sum<I: Iterator<Item = Dual>>(items: I) -> Dual {
        items.fold(constant(0.0), |a, b| a + b)
    }
}
