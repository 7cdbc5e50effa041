use bytes::Bytes;
use bytestring::ByteString;

use super::{DecodeError, EncodeError, EncodeErrorKind, Reader, Struct, Writer};
use crate::{ErrorCode, Uuid};

/// A value that can stand in a message. The type says how it is written: `Option` is a nullable field, `Vec` an array.
pub trait Field: Sized {
    /// Reads the value. `flexible` selects the compact lengths of KIP-482.
    fn read(r: &mut Reader, version: i16, flexible: bool) -> Result<Self, DecodeError>;

    /// Writes the value.
    fn write(&self, w: &mut Writer, version: i16, flexible: bool) -> Result<(), EncodeError>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            #[inline]
            fn read(r: &mut Reader, _: i16, _: bool) -> Result<Self, DecodeError> {
                Ok(<$number>::from_be_bytes(r.fixed()?))
            }

            #[inline]
            fn write(&self, w: &mut Writer, _: i16, _: bool) -> Result<(), EncodeError> {
                w.raw(&self.to_be_bytes());
                Ok(())
            }
        }
    )*};
}

numbers!(i8, i16, i32, i64, u16, u32, f64);

impl Field for bool {
    #[inline]
    fn read(r: &mut Reader, _: i16, _: bool) -> Result<Self, DecodeError> {
        Ok(r.i8()? != 0)
    }

    #[inline]
    fn write(&self, w: &mut Writer, _: i16, _: bool) -> Result<(), EncodeError> {
        w.raw(&[u8::from(*self)]);
        Ok(())
    }
}

impl Field for ErrorCode {
    #[inline]
    fn read(r: &mut Reader, _: i16, _: bool) -> Result<Self, DecodeError> {
        Ok(ErrorCode(r.i16()?))
    }

    #[inline]
    fn write(&self, w: &mut Writer, _: i16, _: bool) -> Result<(), EncodeError> {
        w.raw(&self.0.to_be_bytes());
        Ok(())
    }
}

impl Field for Uuid {
    #[inline]
    fn read(r: &mut Reader, _: i16, _: bool) -> Result<Self, DecodeError> {
        Ok(Uuid(r.fixed()?))
    }

    #[inline]
    fn write(&self, w: &mut Writer, _: i16, _: bool) -> Result<(), EncodeError> {
        w.raw(&self.0);
        Ok(())
    }
}

impl Field for ByteString {
    #[inline]
    fn read(r: &mut Reader, _: i16, flexible: bool) -> Result<Self, DecodeError> {
        let string = r.string(flexible)?;
        r.non_null(string)
    }

    #[inline]
    fn write(&self, w: &mut Writer, _: i16, flexible: bool) -> Result<(), EncodeError> {
        w.string(Some(self), flexible)
    }
}

impl Field for Option<ByteString> {
    #[inline]
    fn read(r: &mut Reader, _: i16, flexible: bool) -> Result<Self, DecodeError> {
        r.string(flexible)
    }

    #[inline]
    fn write(&self, w: &mut Writer, _: i16, flexible: bool) -> Result<(), EncodeError> {
        w.string(self.as_deref(), flexible)
    }
}

impl Field for Bytes {
    #[inline]
    fn read(r: &mut Reader, _: i16, flexible: bool) -> Result<Self, DecodeError> {
        let bytes = r.bytes(flexible)?;
        r.non_null(bytes)
    }

    #[inline]
    fn write(&self, w: &mut Writer, _: i16, flexible: bool) -> Result<(), EncodeError> {
        w.bytes(Some(self), flexible)
    }
}

impl Field for Option<Bytes> {
    #[inline]
    fn read(r: &mut Reader, _: i16, flexible: bool) -> Result<Self, DecodeError> {
        r.bytes(flexible)
    }

    #[inline]
    fn write(&self, w: &mut Writer, _: i16, flexible: bool) -> Result<(), EncodeError> {
        w.bytes(self.as_ref(), flexible)
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    #[inline]
    fn read(r: &mut Reader, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        r.array(flexible, |r| T::read(r, version, flexible))
    }

    #[inline]
    fn write(&self, w: &mut Writer, version: i16, flexible: bool) -> Result<(), EncodeError> {
        match self {
            Some(items) => items.write(w, version, flexible),
            None => w.long_length(None, flexible),
        }
    }
}

impl<T: Field> Field for Vec<T> {
    #[inline]
    fn read(r: &mut Reader, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        let items = <Option<Vec<T>>>::read(r, version, flexible)?;
        r.non_null(items)
    }

    #[inline]
    fn write(&self, w: &mut Writer, version: i16, flexible: bool) -> Result<(), EncodeError> {
        w.long_length(Some(self.len()), flexible)?;
        self.iter().try_for_each(|item| item.write(w, version, flexible))
    }
}

/// A nullable struct is preceded by one byte: -1 for null, 1 for a value.
impl<T: Struct> Field for Option<T> {
    #[inline]
    fn read(r: &mut Reader, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        if r.i8()? < 0 { Ok(None) } else { T::read(r, version, flexible).map(Some) }
    }

    #[inline]
    fn write(&self, w: &mut Writer, version: i16, flexible: bool) -> Result<(), EncodeError> {
        match self {
            Some(value) => {
                w.raw(&[1]);
                value.write(w, version, flexible)
            }
            None => {
                w.raw(&[0xff]);
                Ok(())
            }
        }
    }
}

/// For generated code: a field that this version does not carry must hold its default.
#[inline]
pub(crate) fn absent(
    is_default: bool,
    owner: &'static str,
    field: &'static str,
    version: i16,
) -> Result<(), EncodeError> {
    match is_default {
        true => Ok(()),
        false => Err(EncodeError::new(owner, field, version, EncodeErrorKind::FieldNotInVersion)),
    }
}

/// For generated code: a field that may be null in some versions only.
#[inline]
pub(crate) fn present(
    is_some: bool,
    owner: &'static str,
    field: &'static str,
    version: i16,
) -> Result<(), EncodeError> {
    match is_some {
        true => Ok(()),
        false => Err(EncodeError::new(owner, field, version, EncodeErrorKind::Null)),
    }
}
