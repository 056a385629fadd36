//! BPF instructions by name: enough for a source and a sink of frames, without a compiler for them
//! (instruction set: Documentation/bpf/standardization/instruction-set.rst).

/// One instruction of eight octets.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    /// Destination register in the lower half, source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A program that grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(crate) instructions: Vec<Instruction>,
}

/// Widths of loads and stores.
pub(crate) const WORD: u8 = 0x00;
pub(crate) const HALF: u8 = 0x08;
pub(crate) const BYTE: u8 = 0x10;
pub(crate) const DOUBLE: u8 = 0x18;

impl Program {
    fn push(&mut self, code: u8, (to, from): (u8, u8), offset: i16, immediate: i32) -> &mut Self {
        self.instructions.push(Instruction {
            code,
            registers: from << 4 | to,
            offset,
            immediate,
        });
        self
    }

    /// `to = immediate`
    pub(crate) fn set(&mut self, to: u8, immediate: i32) -> &mut Self {
        self.push(0xb7, (to, 0), 0, immediate)
    }

    /// `to = from`
    pub(crate) fn copy(&mut self, to: u8, from: u8) -> &mut Self {
        self.push(0xbf, (to, from), 0, 0)
    }

    /// `to = value`, all 64 bits
    pub(crate) fn wide(&mut self, to: u8, value: u64) -> &mut Self {
        self.push(0x18, (to, 0), 0, value as u32 as i32);
        self.push(0x00, (0, 0), 0, (value >> 32) as u32 as i32)
    }

    /// `to = address of the value of an array map of one element`
    pub(crate) fn map_value(&mut self, to: u8, map: i32) -> &mut Self {
        // BPF_PSEUDO_MAP_VALUE in the place of the source register.
        self.push(0x18, (to, 2), 0, map);
        self.push(0x00, (0, 0), 0, 0)
    }

    /// `to = *(from + offset)`
    pub(crate) fn load(&mut self, width: u8, to: u8, from: u8, offset: i16) -> &mut Self {
        self.push(0x61 | width, (to, from), offset, 0)
    }

    /// `*(to + offset) = from`
    pub(crate) fn store(&mut self, width: u8, to: u8, offset: i16, from: u8) -> &mut Self {
        self.push(0x63 | width, (to, from), offset, 0)
    }

    /// `lock *(to) += from`, 64 bits
    pub(crate) fn count(&mut self, to: u8, from: u8) -> &mut Self {
        self.push(0xdb, (to, from), 0, 0)
    }

    /// `to += immediate`
    pub(crate) fn add(&mut self, to: u8, immediate: i32) -> &mut Self {
        self.push(0x07, (to, 0), 0, immediate)
    }

    /// `to += from`
    pub(crate) fn plus(&mut self, to: u8, from: u8) -> &mut Self {
        self.push(0x0f, (to, from), 0, 0)
    }

    /// `to &= immediate`
    pub(crate) fn and(&mut self, to: u8, immediate: i32) -> &mut Self {
        self.push(0x57, (to, 0), 0, immediate)
    }

    /// `to ^= immediate`
    pub(crate) fn xor(&mut self, to: u8, immediate: i32) -> &mut Self {
        self.push(0xa7, (to, 0), 0, immediate)
    }

    /// `to >>= immediate`
    pub(crate) fn shift_right(&mut self, to: u8, immediate: i32) -> &mut Self {
        self.push(0x77, (to, 0), 0, immediate)
    }

    /// Folds a sum once into 16 bits and a carry, by another register.
    pub(crate) fn fold(&mut self, sum: u8, by: u8) -> &mut Self {
        self.copy(by, sum)
            .shift_right(by, 16)
            .and(sum, 0xffff)
            .plus(sum, by)
    }

    /// `to` = its lower 16 bits in network order
    pub(crate) fn network_order(&mut self, to: u8) -> &mut Self {
        self.push(0xdc, (to, 0), 0, 16)
    }

    /// Calls a helper of the kernel; its answer is in register 0.
    pub(crate) fn call(&mut self, helper: i32) -> &mut Self {
        self.push(0x85, (0, 0), 0, helper)
    }

    /// Leaves with this value unless `left <= right`.
    pub(crate) fn leave_unless_within(&mut self, left: u8, right: u8, value: i32) -> &mut Self {
        self.push(0xbd, (left, right), 2, 0).leave(value)
    }

    /// Leaves with this value unless the register has that one.
    pub(crate) fn leave_unless(&mut self, register: u8, is: i32, value: i32) -> &mut Self {
        self.push(0x15, (register, 0), 2, is).leave(value)
    }

    /// Leaves with this value.
    pub(crate) fn leave(&mut self, value: i32) -> &mut Self {
        self.set(0, value).push(0x95, (0, 0), 0, 0)
    }
}
