//! The deserializer behind [`decode`](super::decode): postcard reads what has no parts, this reads what has.
//!
//! Owns: the meter of one decoding, and postcard's rules for compound values (a length is a varint; an option is a
//! byte; a variant is a varint; fields follow each other bare). All numbers, strings and bytes are read by postcard.
//!
//! # How memory is charged
//!
//! Elements of sequences and maps cost their `size_of`; fields and payloads lie inside of what was charged already and
//! cost nothing. A value that is larger than its place lies behind a pointer, as in a `Box`, and costs its own
//! `size_of`. Strings and byte strings cost their length. The slack of growing vectors and hash tables is not charged,
//! so the true use can be up to some three times the charge.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

use super::{DecodeError, Limits};

/// What a [`DecodeError::Malformed`] may quote, in bytes.
const MAX_WHY: usize = 256;

pub(super) fn decode_prefix<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<(T, &[u8]), DecodeError> {
    let mut input = Input::new(bytes, limits);
    let value = T::deserialize(Decoder { input: &mut input, place: size_of::<T>() })?;
    Ok((value, input.rest))
}

pub(super) fn decode_with<R>(
    bytes: &[u8],
    limits: Limits,
    read: impl FnOnce(&mut dyn erased_serde::Deserializer<'_>) -> Result<R, erased_serde::Error>,
) -> Result<R, DecodeError> {
    let mut input = Input::new(bytes, limits);
    input.erased = true;
    let decoder = Decoder { input: &mut input, place: 0 };
    let value = read(&mut <dyn erased_serde::Deserializer<'_>>::erase(decoder));
    // An error that was erased has only words left, so limits keep their own.
    let value = value.map_err(|why| input.passed.take().unwrap_or_else(|| de::Error::custom(why)))?;
    if input.rest.is_empty() { Ok(value) } else { Err(DecodeError::Trailing { bytes: input.rest.len() }) }
}

/// What an element is charged where its size cannot be seen, in bytes.
const ERASED_ELEMENT: usize = 8;

/// The bytes still to be read, and what may still be spent on them.
struct Input<'de> {
    rest: &'de [u8],
    limits: Limits,
    max_charge: u64,
    charge_left: u64,
    depth_left: u32,
    elements_left: u64,
    /// Elements for which capacity may still be asked ahead.
    ahead_left: usize,
    /// Whether the sizes of values cannot be seen, as they are handed over behind a pointer.
    erased: bool,
    /// The limit that was passed.
    passed: Option<DecodeError>,
}

impl<'de> Input<'de> {
    fn new(bytes: &'de [u8], limits: Limits) -> Input<'de> {
        let max_charge = (bytes.len() as u64).saturating_mul(u64::from(limits.max_expansion)).max(Limits::SMALL);
        Input {
            rest: bytes,
            limits,
            max_charge,
            charge_left: max_charge,
            depth_left: limits.max_depth,
            elements_left: limits.max_elements,
            ahead_left: bytes.len(),
            erased: false,
            passed: None,
        }
    }

    /// Reads what has no parts.
    fn take<T: Deserialize<'de>>(&mut self) -> Result<T, DecodeError> {
        let (value, rest) = postcard::take_from_bytes(self.rest)?;
        self.rest = rest;
        Ok(value)
    }

    fn take_length(&mut self) -> Result<usize, DecodeError> {
        let length: u64 = self.take()?;
        match usize::try_from(length) {
            Ok(elements) if length <= self.elements_left => Ok(elements),
            _ => Err(self.pass(DecodeError::TooManyElements { max: self.limits.max_elements })),
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        let left = self.charge_left.checked_sub(bytes as u64);
        self.charge_left = left.ok_or_else(|| self.pass(DecodeError::TooLarge { max: self.max_charge }))?;
        Ok(())
    }

    fn element(&mut self) -> Result<(), DecodeError> {
        let left = self.elements_left.checked_sub(1);
        let max = self.limits.max_elements;
        self.elements_left = left.ok_or_else(|| self.pass(DecodeError::TooManyElements { max }))?;
        Ok(())
    }

    fn pass(&mut self, limit: DecodeError) -> DecodeError {
        self.passed = Some(limit.clone());
        limit
    }

    /// How much capacity may be asked for ahead of `length` elements. What is granted is gone for the others: an
    /// honest value has no more elements than bytes, so it never runs short, while nested lies get their sum once.
    fn ahead(&mut self, length: usize) -> usize {
        let granted = length.min(self.rest.len()).min(self.ahead_left);
        self.ahead_left -= granted;
        granted
    }
}

/// Decodes one value into a place of `place` bytes that has been charged.
struct Decoder<'a, 'de> {
    input: &'a mut Input<'de>,
    place: usize,
}

impl<'de> Decoder<'_, 'de> {
    /// Decodes a value with parts, one level down.
    fn down<T>(self, part: impl FnOnce(&mut Input<'de>) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        let input = self.input;
        let depth = input.depth_left.checked_sub(1);
        let max = input.limits.max_depth;
        input.depth_left = depth.ok_or_else(|| input.pass(DecodeError::TooDeep { max }))?;
        if size_of::<T>() > self.place && !input.erased {
            input.charge(size_of::<T>())?;
        }
        let value = part(input);
        input.depth_left += 1;
        value
    }
}

macro_rules! without_parts {
    ($($method:ident: $type:ty => $visit:ident,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            let value: $type = self.input.take()?;
            visitor.$visit(value)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Decoder<'_, 'de> {
    type Error = DecodeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    without_parts! {
        deserialize_bool: bool => visit_bool,
        deserialize_i8: i8 => visit_i8,
        deserialize_i16: i16 => visit_i16,
        deserialize_i32: i32 => visit_i32,
        deserialize_i64: i64 => visit_i64,
        deserialize_i128: i128 => visit_i128,
        deserialize_u8: u8 => visit_u8,
        deserialize_u16: u16 => visit_u16,
        deserialize_u32: u32 => visit_u32,
        deserialize_u64: u64 => visit_u64,
        deserialize_u128: u128 => visit_u128,
        deserialize_f32: f32 => visit_f32,
        deserialize_f64: f64 => visit_f64,
        deserialize_char: char => visit_char,
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let text: &'de str = self.input.take()?;
        self.input.charge(text.len())?;
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let bytes: &'de [u8] = self.input.take()?;
        self.input.charge(bytes.len())?;
        visitor.visit_borrowed_bytes(bytes)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let place = size_of::<V::Value>();
        self.down(|input| match input.take()? {
            0_u8 => visitor.visit_none(),
            1 => visitor.visit_some(Decoder { input, place }),
            _ => Err(DecodeError::Malformed("an option is neither 0 nor 1".to_owned())),
        })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.down(|_input| visitor.visit_unit())
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let place = size_of::<V::Value>();
        self.down(|input| visitor.visit_newtype_struct(Decoder { input, place }))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.down(|input| {
            let left = input.take_length()?;
            let ahead = input.ahead(left);
            visitor.visit_seq(Elements { input, left, ahead })
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.down(|input| visitor.visit_seq(Fields { input, left: len }))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.down(|input| {
            let left = input.take_length()?;
            let ahead = input.ahead(left);
            visitor.visit_map(Elements { input, left, ahead })
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let place = size_of::<V::Value>();
        self.down(|input| visitor.visit_enum(Decoder { input, place }))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DecodeError> {
        Err(DecodeError::Unsupported)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DecodeError> {
        Err(DecodeError::Unsupported)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DecodeError> {
        Err(DecodeError::Unsupported)
    }
}

impl<'de> de::EnumAccess<'de> for Decoder<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        let variant: u32 = self.input.take()?;
        let variant = seed.deserialize(IntoDeserializer::<DecodeError>::into_deserializer(variant))?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Decoder<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        seed.deserialize(Decoder { input: self.input, place: size_of::<T::Value>() })
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Fields { input: self.input, left: len })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.tuple_variant(fields.len(), visitor)
    }
}

/// The fields of a struct, a tuple or a variant: the type says how many, and they lie inside of it.
struct Fields<'a, 'de> {
    input: &'a mut Input<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Fields<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Decoder { input: &mut *self.input, place: size_of::<T::Value>() }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The elements of a sequence or the entries of a map: the sender says how many, and each costs memory.
struct Elements<'a, 'de> {
    input: &'a mut Input<'de>,
    left: usize,
    ahead: usize,
}

impl<'de> Elements<'_, 'de> {
    fn part<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, DecodeError> {
        let place = if self.input.erased { ERASED_ELEMENT } else { size_of::<T::Value>() };
        self.input.charge(place)?;
        seed.deserialize(Decoder { input: &mut *self.input, place })
    }

    /// Whether there is one more, which is then counted.
    fn step(&mut self) -> Result<bool, DecodeError> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        self.input.element()?;
        Ok(true)
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        if self.step()? { self.part(seed).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(self.ahead))
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        if self.step()? { self.part(seed).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        self.part(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(self.ahead))
    }
}

impl From<postcard::Error> for DecodeError {
    fn from(error: postcard::Error) -> DecodeError {
        match error {
            postcard::Error::DeserializeUnexpectedEnd => DecodeError::Truncated,
            other => de::Error::custom(other),
        }
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(why: T) -> DecodeError {
        let mut text = Short(String::new());
        // The only error is that of a text cut short, which is wanted.
        let _cut = write!(text, "{why}");
        DecodeError::Malformed(text.0)
    }
}

/// Text that stops at [`MAX_WHY`] bytes: what is quoted may be as long as the input.
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = text.floor_char_boundary(MAX_WHY - self.0.len());
        self.0.push_str(&text[..room]);
        if room < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
