"""Which countries an SMS may go to: a limit on cost, and on fraud with expensive numbers.

Decides by the numbering plans in the library phonenumbers. Promises that a number whose country is not known gets no
SMS, unless every country is allowed.
"""

import phonenumbers

EVERYWHERE = "*"


def parse_countries(text: str) -> frozenset[str]:
    """Read comma-separated ISO 3166 codes, or ``*``.

    Raises:
        ValueError: a sentence for the operator.
    """
    codes = frozenset(part.strip().upper() for part in text.split(","))
    if codes == {EVERYWHERE}:
        return codes
    unknown = sorted(codes - phonenumbers.SUPPORTED_REGIONS)
    if unknown:
        raise ValueError(f"ISO country codes such as US,DE are required, or * alone; not known: {', '.join(unknown)}")
    return codes


def country_of(phone: str) -> str | None:
    """Return the ISO code of a number in E.164, None for what no country owns (satellites) and what is no number.

    Several countries may share a calling code. A number that fits none of them counts as the main country's: the others
    are recognised by their leading digits, even if the rest of the number is made up.
    """
    try:
        number = phonenumbers.parse(phone)
    except phonenumbers.NumberParseException:
        return None
    country = phonenumbers.region_code_for_number(number)
    if country is None and number.country_code is not None:
        country = phonenumbers.region_code_for_country_code(number.country_code)
    return country if country in phonenumbers.SUPPORTED_REGIONS else None


def is_allowed(phone: str, countries: frozenset[str]) -> bool:
    """Tell whether an SMS may go to that number."""
    return EVERYWHERE in countries or country_of(phone) in countries
