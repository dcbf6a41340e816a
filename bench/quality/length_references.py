"""What people's faces do: published ranges of the lengths of `shape_lengths`, and their sources."""

from dataclasses import dataclass

SOURCES = {
    "Rigsbee 1988": (
        "Rigsbee, Sperry, BeGole: The influence of facial animation on smile characteristics, Int J Adult"
        " Orthodon Orthognath Surg 3 (4), 1988, 233-239; 101 young adults, means"
    ),
    "Tarantili 2005": (
        "Tarantili, Halazonetis, Spyropoulos: The spontaneous smile in dynamic motion, Am J Orthod"
        " Dentofacial Orthop 128, 2005, 8-15; 15 children, means"
    ),
    "Vicon": (
        "Objective computerized evaluation of normal patterns of facial muscles contraction, Brazilian"
        " Journal of Otorhinolaryngology (scielo.br/j/bjorl/a/L6dmhFYyKmqV4N7Zcr7sRLK); 12 adults,"
        " markers, ranges"
    ),
    "Cruz 2004": (
        "Souza Cruz, Velasco Cruz: Quantification of frontalis muscle action, Arq Bras Oftalmol 67 (2), 2004,"
        " 237-240; 81 people, the brow above the lids' middle, means of three age groups"
    ),
    "Khare 2012": (
        "Normal mouth opening in an adult Indian population (PMC3428458); 894 adults opening as far as they"
        " can, ranges of both sexes together"
    ),
    "Basel": (
        "Maximum mandibular mobility in patients with temporomandibular disorders, Swiss Dental Journal; 500"
        " patients, mean and two standard deviations, both sides together"
    ),
    "Kim 2019": (
        "Kim, Hwang, Lim and others: Differences in eye movement range based on age and gaze direction, Eye"
        " 2019; 261 people of 5 to 91 years as far as they can, mean and two standard deviations"
    ),
    "Read 2006": (
        "Read, Collins, Carney, Iskander: The morphology of the palpebral fissure in different directions of"
        " vertical gaze, Optom Vis Sci 83 (10), 2006; 76 young adults, white subjects' mean and two standard"
        " deviations"
    ),
    "Lazarus 2014": (
        "Lazarus and others: Development of a new lingual range-of-motion assessment scale, Dysphagia 29,"
        " 2014, 489-499; a normal tongue reaches 15 mm past the upper lip"
    ),
    "design": "what the shape must do at 1.0: shut lids meet, a gaze turns by 25 degrees up and down",
}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A range in the length's unit; None where it is open."""

    low: float | None
    high: float | None
    #: Keys of SOURCES.
    sources: tuple[str, ...]
    #: Group means without their spread, beside which a face stands and by which it is not judged.
    means: bool = False

    def judge(self, value: float) -> str:
        """Return whether the value lies in the range: yes, no, or nothing where there are only means."""
        if self.means:
            return ""
        return "yes" if self._holds(value) else "no"

    def _holds(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        """Return the range as a reader writes it."""
        if self.means:
            return f"mean {self.low:g}" if self.low == self.high else f"means {self.low:g} to {self.high:g}"
        if self.low is None or self.high is None:
            return f"at most {self.high:g}" if self.low is None else f"at least {self.low:g}"
        return f"{self.low:g} to {self.high:g}"


#: By the length's name; a length that is not here has no published range that we know.
REFERENCES = {
    "mouth width gained in a smile": Reference(
        low=27, high=30, sources=("Rigsbee 1988", "Tarantili 2005"), means=True
    ),
    "mouth corner's path in a smile": Reference(low=6.45, high=12.11, sources=("Vicon",)),
    "mouth corner's direction in a smile": Reference(
        low=47, high=47, sources=("Tarantili 2005",), means=True
    ),
    "nose width gained in a smile": Reference(low=14, high=14, sources=("Rigsbee 1988",), means=True),
    "gap of the incisors": Reference(low=36, high=70, sources=("Khare 2012",)),
    "lower incisors forward": Reference(low=4.2, high=13.4, sources=("Basel",)),
    "lower incisors aside": Reference(low=4.4, high=18, sources=("Basel",)),
    "tongue past the upper lip": Reference(low=15, high=None, sources=("Lazarus 2014",)),
    "brow's middle, all raised": Reference(
        low=6.0,
        high=13.08,
        sources=(
            "Vicon",
            "Cruz 2004",
        ),
    ),
    "inner brow's path in a frown": Reference(low=4.16, high=10.85, sources=("Vicon",)),
    "lids' gap, open": Reference(low=7.3, high=12.1, sources=("Read 2006",)),
    "upper lid's path": Reference(low=6.89, high=11.29, sources=("Vicon",)),
    "lids' gap, shut": Reference(low=None, high=0.5, sources=("design",)),
    "gaze outwards": Reference(low=30.6, high=57.8, sources=("Kim 2019",)),
    "gaze inwards": Reference(low=30.5, high=59.3, sources=("Kim 2019",)),
    "gaze up": Reference(low=25, high=43.1, sources=("Kim 2019", "design")),
    "gaze down": Reference(low=25, high=63.1, sources=("Kim 2019", "design")),
}
