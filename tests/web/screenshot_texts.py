"""What is said in the conversations of the pictures, by language."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spoken:
    """The texts of one language.

    Attributes:
        answers: The answers to questions, in their order.
        sum: A question for which a tool is called.
        total: Its answer.
        slow: A question whose answer is not finished.
        thought: What the model thinks of it.
        begun: What has been written of its answer.
        site: The heading of a website.
    """

    answers: dict[str, str]
    sum: str
    total: str
    slow: str
    thought: str
    begun: str
    site: str


SPOKEN = {
    "en": Spoken(
        {
            "We are three and want to cycle along a river for two days. What should we plan for?": """\
For three people over two days I would plan about **€ 183**, and keep the first day short.

| What | Day 1 | Day 2 | Note |
|------|------:|------:|------|
| Distance | 38 km | 52 km | flat, mostly asphalt |
| Rooms | 3 × € 48 | – | breakfast included |
| Train home | – | 2 × € 19.50 | one has a season ticket |

### Before you leave

1. Check the tyres and take **two** spare tubes.
2. Book the rooms; on Sundays many houses are closed.
   - Ask whether bicycles can stand inside.
   - Ask until what hour you can arrive.
3. Look at the wind: against it you need a third longer.

> The ferry takes no cards, so bring coins.

- [x] route
- [ ] rooms
- [ ] train
""",
            "How fast do we have to be? And show me how to compute it in Python.": """\
The average is distance over time, $v = \\dfrac{s}{t}$. With 52 km in four hours:

$$v = \\frac{52\\ \\text{km}}{4\\ \\text{h}} = 13\\ \\text{km/h}$$

```python
def average(distance_km: float, hours: float, breaks: float = 0.0) -> float:
    \"\"\"Return the average speed while riding, in km/h.\"\"\"
    return distance_km / (hours - breaks)  # breaks do not count


print(average(52, 4.75, breaks=0.75))
```

That prints `13.0`. Whoever rides now and then manages 14 to 16 km/h on flat ground ([a table of speeds](https://example.com/speeds)).
""",
        },
        "What are 3 rooms at 48 and 2 tickets at 19.50?",
        "Together **€ 183**.",
        "Write me a packing list",
        "Two days, by bicycle, in spring: rain is likely, nights are cool.",
        "For two days by bicycle you need little:\n\n- a rain jacket\n- a warm layer for the evening",
        "Bicycles and more",
    ),
    "ru": Spoken(
        {
            "Мы втроём хотим два дня ехать на велосипедах вдоль реки. Что нужно предусмотреть?": """\
На троих и на два дня я бы заложил около **18 300 ₽**, а первый день сделал бы коротким.

| Что | День 1 | День 2 | Примечание |
|-----|------:|------:|------------|
| Расстояние | 38 км | 52 км | ровно, в основном асфальт |
| Комнаты | 3 × 4 800 ₽ | – | с завтраком |
| Поезд домой | – | 2 × 1 950 ₽ | у одного проездной |

### Перед отъездом

1. Проверьте шины и возьмите **две** запасные камеры.
2. Забронируйте комнаты: по воскресеньям многие дома закрыты.
   - Спросите, можно ли поставить велосипеды внутри.
   - Спросите, до которого часа можно заселиться.
3. Посмотрите на ветер: против него нужно на треть больше времени.

> На пароме не принимают карты, возьмите наличные.

- [x] маршрут
- [ ] комнаты
- [ ] поезд
""",
            "С какой скоростью нам ехать? И покажи, как посчитать её на Python.": """\
Средняя скорость — это путь, делённый на время: $v = \\dfrac{s}{t}$. Для 52 км за четыре часа:

$$v = \\frac{52\\ \\text{км}}{4\\ \\text{ч}} = 13\\ \\text{км/ч}$$

```python
def average(distance_km: float, hours: float, breaks: float = 0.0) -> float:
    \"\"\"Средняя скорость в движении, км/ч.\"\"\"
    return distance_km / (hours - breaks)  # остановки не считаются


print(average(52, 4.75, breaks=0.75))
```

Получится `13.0`. Кто ездит время от времени, держит по ровной дороге 14–16 км/ч ([таблица скоростей](https://example.com/speeds)).
""",
        },
        "Сколько стоят 3 комнаты по 48 и 2 билета по 19,50?",
        "Вместе **183**.",
        "Составь список вещей",
        "Два дня, велосипед, весна: вероятен дождь, ночи прохладные.",
        "На два дня с велосипедом нужно немного:\n\n- дождевик\n- тёплая вещь на вечер",
        "Велосипеды и не только",
    ),
}
